"""The page's texts in Chinese, by their English: what ``demo.languages.translate`` looks up. Values stand in braces."""

# The one English text that is too long to stand here and on the page.
STEPS = """<h2>Your answer appears here</h2><ol>
<li><strong>Add a photo</strong> or pick an example.</li>
<li><strong>Ask</strong> about what is in it, in plain English.</li>
<li><strong>Select a word</strong> of your question to see where in the photo the model looked for it.</li>
<li><strong>Select a place</strong> in the photo, or drag a box over it, to see which words it served.</li>
<li><strong>Doubt it</strong>: explain another answer, by another method, and see whether the map matters.</li></ol>
<p class="fine-print">You get five answers, how likely each is, and whether the photo mattered.</p>"""

# The names of icons that gradio 6.31 has in English alone.
NAMES_OF_GRADIO = {
    "Fullscreen": "全屏",
    "Remove Image": "移除图片",
    "Upload file": "上传文件",
    "Capture from camera": "用相机拍照",
    "Paste from clipboard": "从剪贴板粘贴",
    "Click to upload or drop files": "点击上传或拖放文件",
    "Pan": "移动",
    "Zoom out": "缩小",
    "Zoom in": "放大",
    "undo": "撤销",
    "Undo": "撤销",
    "Redo": "重做",
    "Clear canvas": "清空画布",
    "Brush": "画笔",
    "Erase": "橡皮",
    "Color": "颜色",
    "Brush Size": "画笔大小",
    "Download": "下载",
    "Copy": "复制",
}

CHINESE = {
    # more
    "<h1>More than questions</h1><p>Small models for single tasks. Each says how likely it is, and what "
    "spoke for it.</p>": (
        "<h1>不只是提问</h1><p>为单项任务训练的小模型。每个模型都会说明结果有多可能，以及依据是什么。</p>"
    ),
    "Tag words": "标注词语",
    "Finds people, places, organisations and other names in a sentence.": "在句子中找出人名、地名、机构名和其他名称。",
    "A sentence": "一个句子",
    "Relate": "判断关系",
    "Says how two marked parts of a text are related. Mark both with brackets.": (
        "说明文中标出的两部分之间的关系。请用方括号标出这两部分。"
    ),
    "A text with two marked parts": "标出两部分的文字",
    "Judge": "判断陈述",
    "Says whether a photo supports a statement, contradicts it, or leaves it open.": (
        "说明照片支持一句陈述、与它矛盾，还是无法确定。"
    ),
    "A statement about the photo": "关于照片的陈述",
    "Feel": "判断情感",
    "Says whether a short text, with its photo if it has one, sounds positive, neutral or negative.": (
        "说明一段短文（可附照片）听起来是积极、中性还是消极。"
    ),
    "A short text": "一段短文",
    "Read": "阅读",
    "Reads a receipt or another printed page, a photo or a PDF, and finds the answer among its words.": (
        "阅读小票或其他印刷页面（照片或 PDF），并在其文字中找出答案。"
    ),
    "A question about the page": "关于这一页的问题",
    "Task": "任务",
    "The photo changed nothing.": "照片没有改变结果。",
    "Document: a photo or a PDF": "文档：照片或 PDF",
    "Page of the PDF": "PDF 的页码",
    "Go": "开始",
    "Without the photo: {answer} ({share}).": "不看照片时：{answer}（{share}）。",
    "for": "支持",
    "against": "反对",
    "marked": "已标出",
    "matters": "有影响",
    "matters a little": "有一点影响",
    "can’t be told": "无法判断",
    "Words that spoke for it, and against it": "支持它和反对它的词",
    "No entity was found in this sentence.": "这个句子中没有找到名称。",
    "Entity": "名称",
    "Entities": "名称",
    "Type": "类型",
    "Probability": "概率",
    "By the other words alone": "仅凭其他词",
    "Other words that spoke for it": "支持它的其他词",
    "Verdict": "结论",
    "{share}: how sure it is of these words, on receipts like those it learned from; elsewhere less can be said.": (
        "{share}：在与训练数据相似的小票上，它对这些文字的把握；在其他页面上则不可靠。"
    ),
    "The framed lines mattered.": "框出的行很重要。",
    "The framed lines mattered a little.": "框出的行有一点重要。",
    "Hiding the framed lines cost the answer no more than chance explains.": (
        "遮住框出的行，对答案的影响没有超出随机的范围。"
    ),
    "Whether the framed lines mattered can’t be told.": "无法判断框出的行是否重要。",
    "Page {number} of {pages}.": "第 {number} 页，共 {pages} 页。",
    "The page, with a frame around “{answer}”": "页面，“{answer}”已框出",
    "More": "更多",
    # a printed page on the first page
    "Read on the page: {answer}": "在页面上读到：{answer}",
    "By a second model, from the {count} words that OCR found here. It says {share}.": (
        "由另一个模型从 OCR 在此找到的 {count} 个词中读出，它给出的概率为 {share}。"
    ),
    "It learned company, date, address and total of receipts; of other pages and questions it knows little.": (
        "它学的是小票上的公司、日期、地址和总额；对其他页面和问题所知甚少。"
    ),
    "What was read": "读到的内容",
    "A second model looks for printed words on it …": "另一个模型正在照片上寻找印刷文字……",
    "From here on the model for photos speaks, which saw hardly any printed pages when it learned:": (
        "以下是照片模型的回答，它学习时几乎没有见过印刷页面："
    ),
    "If this is a page of printed text: a second model could read it, but no OCR is installed here. "
    "To install it: .venv/bin/pip install -e '.[read]'": (
        "如果这是一页印刷文字：另一个模型可以阅读它，但这里没有安装 OCR。安装命令：.venv/bin/pip install -e '.[read]'"
    ),
    # finding
    "Find": "查找",
    "<h1>Find photos</h1><p>Type what a photo shows, or give a photo. Of this collection the best fits come first; "
    "each shows where it fits.</p>": (
        "<h1>查找照片</h1><p>输入照片的内容，或给出一张照片。本收藏中最相符的排在最前，每张都显示哪里相符。</p>"
    ),
    "What the photo shows": "照片的内容",
    "Find photos like one of yours": "用您的照片查找相似的照片",
    "It matches things and their looks. “No”, counts, and who does what to whom hardly change what is found.": (
        "它比对事物及其外观。“没有”、数量以及谁对谁做什么几乎不影响结果。"
    ),
    "Indexing stopped. Whoever runs this page finds the reason in its log.": (
        "索引已停止。本页的运营者可在日志中找到原因。"
    ),
    "{count} photos can be found.": "可查找 {count} 张照片。",
    "{done} of {total} new ones are indexed.": "新照片已索引 {done} / {total}。",
    "{count} could not be read.": "{count} 张无法读取。",
    "There is no photo to be found yet.": "目前还没有可查找的照片。",
    "Photo {place}: {name}": "第 {place} 张照片：{name}",
    "gone": "已不在",
    "Photos found, the best first": "找到的照片，最相符的在前",
    "{count} photos found, the best first.": "找到 {count} 张照片，最相符的在前。",
    "The nearest is {likeness} like it (1 is the same photo).": "最相近的一张相似度为 {likeness}（1 为同一张照片）。",
    "With a score like this one, the first photo is the one that was meant {share} of the time.": (
        "得分与此相近时，第一张就是所指照片的情况占 {share}。"
    ),
    "Measured on photos that the model never learned from; among more photos it is less often.": (
        "在模型从未学过的照片上测得；照片越多，比例越低。"
    ),
    "Photo {place} of {count}": "第 {place} 张，共 {count} 张",
    "all words": "所有词",
    "This photo is no longer in the collection. Search again.": "这张照片已不在收藏中。请重新查找。",
    # the page
    "VALM – ask a photo, see why": "VALM – 向照片提问，看清缘由",
    "Ask a photo a question. See the answer, how sure the model is, and where it looked for every word.": (
        "向照片提一个问题。看答案、模型有多大把握，以及它为每个词看了照片的哪里。"
    ),
    STEPS: """<h2>答案将显示在这里</h2><ol>
<li><strong>添加一张照片</strong>，或选择一个示例。</li>
<li>用简单的英文<strong>提问</strong>照片里有什么（模型只懂英文，答案也是英文）。</li>
<li><strong>点击问题中的词</strong>，看模型为它看了照片的哪里。</li>
<li><strong>点击照片中的位置</strong>，或拖出一个方框，看它为哪些词所用。</li>
<li><strong>保持怀疑</strong>：换一个答案、换一种方法来解释，看热图是否真的重要。</li></ol>
<p class="fine-print">您会得到五个答案、各自的可能性，以及照片是否起了作用。</p>""",
    "Those that their owners agree to keep with a correction stay longer.": (
        "照片主人同意随纠正一起保留的照片会保留更久。"
    ),
    "This tab keeps your questions and the names of your photos, so that a reload brings them back; closing it, or the "
    "button here, forgets them.</p>": (
        "此标签页会保存您的问题和照片的名称，以便重新加载后恢复；关闭标签页或点击这里的按钮即会忘记它们。</p>"
    ),
    "The page is still loading. A photo and a question can be given already.": (
        "页面仍在加载，现在就可以选择照片、输入问题。"
    ),
    "It is asked as soon as the page is loaded.": "页面加载完成后会立即提问。",
    "About": "关于",
    "<h3>The model</h3><p>VALM looks at the photo in small squares, called cells, reads the question word by word, and "
    "chooses among the answers it has learned. Its model card lies beside its weights, in {checkpoint}.</p>": (
        "<h3>模型</h3><p>VALM 把照片分成小方格（称为格子）来看，逐词阅读问题，再从学过的答案中选择。"
        "它的模型卡与权重放在一起：{checkpoint}。</p>"
    ),
    "<h3>What a map can’t show</h3><p>A heat map shows what the model read for its answer. That is a clue and not a "
    "proof: it doesn’t show what was understood or why, and the answer may come from the question alone. A cell also "
    "knows a little of what lies around it.</p>": (
        "<h3>热图不能说明什么</h3><p>热图显示模型为得出答案读取了什么。这是线索而不是证明：它不显示理解了什么或为什么，"
        "而且答案可能只来自问题本身。一个格子也知道一点它周围的内容。</p>"
    ),
    "<h3>What the percentages mean</h3><p>They were set right on many test questions: of all answers given with 60 %, "
    "about 60 of 100 were right. That holds on average, not for each one, and less for other kinds of photos.</p>": (
        "<h3>百分比的含义</h3><p>它们在许多测试问题上校准过：以 60 % 给出的答案，每 100 个约有 60 个正确。"
        "这是平均情况，不保证每一个都对，对其他类型的照片则更不准。</p>"
    ),
    "<h3>Your photos</h3><p>Photos stay on this server for a few hours at most.": (
        "<h3>您的照片</h3><p>照片最多在本服务器上保留几个小时。"
    ),
    '<h3>For programs</h3><p><a href="api" target="_blank">API: over HTTP or from Python</a></p>': (
        '<h3>供程序使用</h3><p><a href="api" target="_blank">API：如何通过 HTTP 或 Python 提问</a></p>'
    ),
    "Forget this visit": "忘记本次访问",
    "Photo": "照片",
    "Drop a photo here\nor click to choose one": "将照片拖到这里\n或点击选择",
    "Examples": "示例",
    "Question": "问题",
    "What is in the photo?": "请用英文提问",
    "Ask": "提问",
    "Select several words or cells": "可选多个词或格子",
    "Clear the selection": "清除所选",
    "To the answer": "跳到回答",
    "Show": "显示",
    "Map": "热图",
    "Side by side": "并排",
    "Slider": "滑块对比",
    "Heat map opacity (%)": "热图不透明度（%）",
    "Grid of cells": "格子线",
    "Raw cells": "原始格子",
    "Same scale for all words": "所有词用同一标尺",
    "Can this be believed?": "这可信吗？",
    "Details": "详情",
    "Answer (or type another)": "答案（或输入另一个英文答案）",
    "Method": "方法",
    "Direction": "方向",
    "Words → photo: where each looked": "词 → 照片：每个词看了哪里",
    "Photo → words: what it read": "照片 → 词：它读了什么",
    "Layer": "层",
    "Head": "头",
    "all": "全部",
    "All layers and heads": "所有层和头",
    "Number": "数值",
    "Evenness (entropy)": "均匀度（熵）",
    "Attention in the selected cells": "所选格子中的注意力",
    # packaged examples
    "Cat": "猫",
    "Cup of coffee": "一杯咖啡",
    "Raccoon": "浣熊",
    "{title} · the model gets {right} of {count} right": "{title} · 模型 {count} 题答对 {right} 题",
    "Astronaut": "宇航员",
    "Dandelion clocks": "蒲公英",
    "Man with camera": "拿相机的人",
    "Rocket at night": "夜间的火箭",
    "Staircase": "楼梯",
    # explanation methods
    "raw attention": "原始注意力",
    "attention rollout": "注意力展开",
    "grad cam": "梯度加权注意力（grad cam）",
    "gradient relevancy": "梯度相关性",
    "relative attention": "相对注意力",
    "occlusion": "遮挡",
    "random": "随机",
    "center": "中心",
    "random (control)": "随机（对照）",
    "center (control)": "中心（对照）",
    # open models
    "What the model is asked": "模型收到的提问",
    "Prompt": "提示词",
    "{image} is where the photo goes, {question} your question. A prompt that doesn’t ask for one word or a short "
    "phrase lets the model write longer answers, which come word by word and take longer.": (
        "{image} 处放照片，{question} 处放您的问题。如果提示词不要求用一个词或短语回答，模型会写出较长的回答，"
        "逐词出现，也需要更长时间。"
    ),
    "Longer answers": "较长的回答",
    "Short answers": "简短的回答",
    "A text of {count} words. Each of its pieces was {share} likely after those before it, in the geometric mean.": (
        "这段文字有 {count} 个词。按几何平均，其中每个词片在前文之后的概率为 {share}。"
    ),
    "Without the photo it writes another text.": "不看照片时，它写出另一段文字。",
    "What counts as mattering was measured on another model, the one that VALM ships, and not on this one.": (
        "判断“有影响”的界限是在另一个模型（VALM 自带的模型）上测得的，不是在这个模型上。"
    ),
    "Only these answers were allowed, each scored by how likely the model is to write it; the shares sum to 100 % and "
    "are not calibrated.": "只允许这些答案，按模型写出每个答案的可能性评分；各项合计 100 %，未经校准。",
    "<h3>The model</h3><p>This page asks {checkpoint}, an open vision-language model, which VALM didn’t make. It looks "
    "at the photo in small squares, called cells, reads the question word by word, and answers. Models of its kind "
    "were tested with VALM as tiny copies with random weights, none with its real ones.</p>": (
        "<h3>模型</h3><p>本页面使用 {checkpoint}，这是一个开放的视觉语言模型，并非 VALM 制作。"
        "它把照片分成小方格（称为格子）来看，逐词阅读问题，然后回答。"
        "VALM 只用随机权重的微型同类模型测试过，没有用真实权重测试过。</p>"
    ),
    "This model has no attention maps here, because it isn’t known which of its parts read which places of the photo. "
    "Occlusion hides one place after the other and works with any model.": (
        "这个模型在这里没有注意力热图，因为不知道它的哪些部分读取照片的哪些位置。遮挡法逐处遮住照片，适用于任何模型。"
    ),
    "Checked is the map of the whole question only: with this model, every word would take as many runs again.": (
        "只检验整个问题的热图：对这个模型，检验每个词都要再运行同样多次。"
    ),
    "<h3>What the percentages mean</h3><p>They are the model’s own probabilities of each answer as a text, and were "
    "not set right on test questions: read them as an order, not as chances of being right.</p>": (
        "<h3>百分比的含义</h3><p>它们是模型自己给出的每个答案作为文字的概率，没有在测试问题上校准："
        "只看次序，不当作答对的可能。</p>"
    ),
    "It is about the answer that the model writes word after word, not the likeliest of several.": (
        "这里说的是模型逐词写出的答案，而不是多个候选中最可能的那个。"
    ),
    "without the last {count} words": "未画出最后 {count} 个词",
    "This kind of model can’t be asked again without parts.": "这类模型不能在去掉部分内容后再次提问。",
    "The attention heads of this kind of model can’t be switched off.": "这类模型的注意力头不能关闭。",
    "They are the model’s own probabilities of each answer as a text, and were not calibrated: read them as an order, "
    "not as chances of being right.": ("它们是模型给出各答案的概率，未经校准：只看次序，不当作答对的可能。"),
    # answers
    "Few photos it learned from look like this one: the percentages may not hold.": (
        "模型学过的照片很少与此相似，百分比可能不可靠。"
    ),
    "Few questions it learned from are like this one: the percentages may not hold.": (
        "模型学过的问题很少与此相似，百分比可能不可靠。"
    ),
    "yes or no": "是或否",
    "a number": "数字",
    "something else": "其他",
    "Kind of answer: {kinds}.": "答案类型：{kinds}。",
    "This model was trained on English questions; the answers below may be meaningless.": (
        "这个模型只用英文问题训练过；下面的答案可能毫无意义。"
    ),
    "Likeliest answers and their probabilities": "最可能的答案及其概率",
    "The model gets this one wrong. Right answer: {answer}": "模型答错了这个问题。正确答案：{answer}",
    "Of {count} validation questions answered {kind} this surely ({low} to {high} %), {share} were right.": (
        "在 {count} 个以同样把握（{low}% 至 {high}%）{kind}作答的验证问题中，有 {share} 答对。"
    ),
    "with yes or no": "以是或否",
    "with a number": "以数字",
    "with a word": "以词语",
    "A guess from the question alone.": "这只是根据问题本身的猜测。",
    "Without the photo the first answers are about as likely.": "没有照片时，最可能的答案的可能性也差不多。",
    "Answer to “{question}”: {answer}, {share}.": "“{question}”的答案：{answer}，{share}。",
    "It may be meaningless: see the warning.": "它可能毫无意义：请看警告。",
    "The model does not know.": "模型其实并不知道。",
    "Without the photo it would say: {answer} ({share}) – the same answer, so the photo did not change it.": (
        "没有照片时它会回答：{answer}（{share}）– 答案相同，所以照片没有改变它。"
    ),
    "Without the photo it would say: {answer} ({share}) – so the photo changed the answer.": (
        "没有照片时它会回答：{answer}（{share}）– 所以照片改变了答案。"
    ),
    "Without the photo it would say: {answer} ({share}) – both answers are about as likely with it.": (
        "没有照片时它会回答：{answer}（{share}）– 有照片时两个答案的可能性也差不多。"
    ),
    "question {share} %": "问题 {share} %",
    "photo {share} %": "照片 {share} %",
    "How the model mixed its two streams for this answer. It is no proof of what it relied on.": (
        "模型为这个答案混合两路信息的比例。这不能证明它依据了什么。"
    ),
    # the sentence that leads, see rendering/sentences.py
    "Very likely {answer}.": "很可能是 {answer}。",
    "Probably {answer}.": "大概是 {answer}。",
    "Perhaps {answer}.": "也许是 {answer}。",
    "It does not know. Its best guess is {answer}.": "它不知道。它最好的猜测是 {answer}。",
    "It says {answer}.": "它的回答是 {answer}。",
    "When it is this sure, it is nearly always right.": "有这样的把握时，它几乎总是对的。",
    "When it is this sure, it is right about half the time.": "有这样的把握时，它大约一半时候是对的。",
    "When it is this sure, it is right in about {count} of 10 cases.": "有这样的把握时，它大约 10 次中对 {count} 次。",
    "When it is this sure, it is hardly ever right.": "有这样的把握时，它几乎从不正确。",
    "How often it is right in such a case was not measured.": "这种情况下它多常答对，没有测量过。",
    "The photo decided it.": "答案由照片决定。",
    "It says the same without the photo, but less surely.": "没有照片它也这么说，只是把握更小。",
    "It says the same without the photo, and more surely.": "没有照片它也这么说，而且把握更大。",
    "It guessed from the question: the photo hardly mattered.": "它是根据问题猜的：照片几乎没起作用。",
    "Checking where it looked …": "正在检查它看的位置……",
    "Where it looked mattered.": "它看的位置很重要。",
    "Where it looked mattered a little.": "它看的位置有一点重要。",
    "Hiding where it looked cost the answer no more than chance explains.": (
        "遮住它看的位置，对答案的影响没有超出随机的范围。"
    ),
    "Whether where it looked mattered can’t be told: the answer is about as likely with nine tenths of the photo "
    "hidden.": ("无法判断它看的位置是否重要：即使遮住照片的九成，这个答案的可能性也差不多。"),
    "Where “{word}” looked mattered.": "“{word}”看的位置很重要。",
    "Where “{word}” looked mattered a little.": "“{word}”看的位置有一点重要。",
    "Hiding where “{word}” looked cost the answer no more than chance explains.": (
        "遮住“{word}”看的位置，对答案的影响没有超出随机的范围。"
    ),
    "Yet hiding where it looked made it less sure.": "不过，遮住它看的位置后，它没那么有把握了。",
    "This map is a control: it does not show where the model looked.": "这张图是对照：它并不表示模型看了哪里。",
    "Whether where “{word}” looked mattered can’t be told: the answer is about as likely with nine tenths of the photo "
    "hidden.": ("无法判断“{word}”看的位置是否重要：即使遮住照片的九成，这个答案的可能性也差不多。"),
    "“{word}” looked everywhere alike: its map can’t be checked.": "“{word}”看各处都一样：它的热图无法检验。",
    "“{word}” looked where “{other}” did: its map says nothing of this word alone.": (
        "“{word}”与“{other}”看的位置相同：它的热图不能单独说明这个词。"
    ),
    "For “{answer}”: {sentence}": "关于“{answer}”：{sentence}",
    # follow-up questions
    "Asked as: {question}": "实际提问：{question}",
    "Ask exactly “{typed}”": "完全按原文提问：“{typed}”",
    "Asked as typed: it isn’t certain what “{words}” stands for after the question before.": (
        "已按原文提问：无法确定“{words}”指上一个问题中的什么。"
    ),
    "This model answers short questions in a word or two; it can’t describe a whole photo.": (
        "这个模型用一两个词回答简短的问题，无法描述整张照片。"
    ),
    "Choose a word to see where it was read:": "选择一个词，看它是从哪里读出来的：",
    "By a second, small model, in English: it names what is usual, and errs often.": (
        "由另一个小模型用英语写成：它说的是常见的东西，经常出错。"
    ),
    "“{word}”: {percent} likely after the words before it; {verdict}.": (
        "“{word}”：在前面的词之后，可能性为 {percent}；{verdict}。"
    ),
    "Where “{word}” was read": "“{word}”是从哪里读出来的",
    "What it finds most surely here: {things}.": "它在这里最有把握看到的是：{things}。",
    "The questions on the buttons fit this photo.": "按钮上的问题适合这张照片。",
    # maps
    "where the words looked": "词看了哪里",
    "what the photo’s cells read": "照片的格子读了什么",
    "all layers and heads": "所有层和头",
    "attention in {layer}, {head}": "{layer}、{head}的注意力",
    "all layers": "所有层",
    "head {head}": "第 {head} 头",
    "all heads": "所有头",
    "Where it looked for “{answer}”": "为了“{answer}”，它看了哪里",
    "Where it looked for {word}": "为了 {word} 这个词，它看了哪里",
    "Where it looked for the words {words}": "为了 {words} 这些词，它看了哪里",
    " and ": "和",
    "{share} of the question’s weight": "占问题权重的 {share}",
    "whole question": "整个问题",
    "the whole question": "整个问题",
    "Words of your question": "您的问题中的词",
    "row {row}, column {column}: {share}": "第 {row} 行第 {column} 列：{share}",
    "Cells of the photo": "照片的格子",
    "The photo itself": "照片本身",
    "one scale for all words": "所有词用同一标尺",
    "each map has its own scale": "每张热图各用自己的标尺",
    "Share of the map per cell, {scale}. {rows} × {columns} cells; evenly spread, each would have {share}.": (
        "每个格子占热图的份额，{scale}。共 {rows} × {columns} 个格子；若均匀分布，每格为 {share}。"
    ),
    "0 to {share}": "0 至 {share}",
    "Where the model looked for <strong>the whole question</strong>.": "模型为<strong>整个问题</strong>看了哪里。",
    "Where it looked for {word}, {share} of the question’s weight.": "它为 {word} 看了哪里，该词占问题权重的 {share}。",
    "{name}: strongest {place}; {share} % of the map in {count} of {cells} cells": (
        "{name}：{place}最强；热图的 {share} % 位于 {cells} 个格子中的 {count} 个"
    ),
    "{name}: no place stands out, every cell counted about the same": "{name}：没有突出的位置，各处的格子都差不多",
    "no place stands out": "没有突出的位置",
    "maps of “{words}”": "“{words}”的图",
    "No place stands out: every cell counted about the same, so nothing is coloured.": (
        "没有突出的位置：每个格子都差不多，因此没有着色。"
    ),
    ". For ": "。",
    "Map over the photo for {parts}.": "照片上的热图。{parts}。",
    "in the upper left": "左上方",
    "in the upper middle": "上方中间",
    "in the upper right": "右上方",
    "at the left, halfway up": "左侧中间",
    "in the middle": "正中",
    "at the right, halfway up": "右侧中间",
    "in the lower left": "左下方",
    "in the lower middle": "下方中间",
    "in the lower right": "右下方",
    "Tap a place in the photo, or drag a box over it, to see which words it served.": (
        "点按照片中的位置，或拖出一个方框，看它为哪些词所用。"
    ),
    "By keyboard: Tab into the photo, move with the arrow keys, select with Space, a box with Shift and arrows.": (
        "键盘操作：按 Tab 进入照片，用方向键移动，用空格键选择，用 Shift 加方向键选择方框。"
    ),
    "this cell": "这个格子",
    "these {count} cells": "这 {count} 个格子",
    "How much of where each word looked lies in {cells} (evenly spread: {share})": (
        "每个词所看之处有多少位于{cells}（均匀分布时：{share}）"
    ),
    "How much of what {cells} read in the question was each word (evenly spread: {share})": (
        "{cells}从问题中读取的内容里每个词占多少（均匀分布时：{share}）"
    ),
    "layer {layer}": "第 {layer} 层",
    "layer {layer}, head {head}: {value}": "第 {layer} 层第 {head} 头：{value}",
    "Evenness of each head’s map: 1 is everywhere the same, 0 all in one cell.": (
        "每个头的热图的均匀度：1 表示处处相同，0 表示全在一个格子里。"
    ),
    "Share of each head’s map in the selected cells.": "每个头的热图位于所选格子中的份额。",
    "Share of each head’s map in the cells that are hottest over all heads.": (
        "每个头的热图位于所有头平均最热的格子中的份额。"
    ),
    "Layers and heads": "层和头",
    "Select one to see it large.": "点选一个可放大查看。",
    "Ask something else": "再问一个问题",
    '<p><a href="{address}" target="_blank" rel="noopener">Model card: what it learned from, and how well</a></p>': (
        '<p><a href="{address}" target="_blank" rel="noopener">模型卡：它学了什么、学得如何</a></p>'
    ),
    '<p><a href="{source}" target="_blank" rel="noopener">Source code</a></p>': (
        '<p><a href="{source}" target="_blank" rel="noopener">源代码</a></p>'
    ),
    "Whole photo": "整张照片",
    "Show large": "放大显示",
    "Close": "关闭",
    "Download this map (PNG)": "下载此热图（PNG）",
    # evidence
    "Hiding the {shares} of the photo marked hottest moves “{answer}” from {whole} to {hottest}; hiding as much at "
    "random (mean of {draws} draws) moves it to {random}.": (
        "遮住热图标为最热的 {shares} 照片，“{answer}”的概率从 {whole} 变为 {hottest}；随机遮住同样多"
        "（{draws} 次的平均）则变为 {random}。"
    ),
    "How sure to be?": "该有多大把握？",
    "Does it matter where it looked?": "它看的地方重要吗？",
    "where it looked matters": "它看的地方重要",
    "where it looked matters a little": "它看的地方有一点重要",
    "what it marks matters": "它标出的地方重要",
    "what it marks matters a little": "它标出的地方有一点重要",
    "no difference beyond chance": "没有超出随机的差别",
    "can’t be told: the answer is about as likely with nine tenths of the photo hidden": (
        "无法判断：即使遮住照片的九成，这个答案的可能性也差不多"
    ),
    "Do other methods agree?": "其他方法是否一致？",
    "They mostly agree": "大体一致",
    "They agree in part": "部分一致",
    "They disagree": "不一致",
    "{agrees}: {agreement}, where 1 is the same order of cells and 0 no relation. Evenness of the map {evenness}, "
    "where 1 is everywhere the same.": (
        "{agrees}：{agreement}，1 表示格子的排序相同，0 表示毫无关系。热图的均匀度为 {evenness}，1 表示处处相同。"
    ),
    "Did it need the photo?": "它需要照片吗？",
    "Without the photo it would say {answer} ({share}), the explained answer too.": (
        "没有照片时它会回答 {answer}（{share}），与被解释的答案相同。"
    ),
    "Without the photo it would say {answer} ({share}), not the explained answer.": (
        "没有照片时它会回答 {answer}（{share}），不是被解释的答案。"
    ),
    "Are the percentages honest?": "百分比可靠吗？",
    "They were measured on questions unlike this one or about photos unlike this one, so they may not hold here.": (
        "它们是在与此不同的问题或照片上测得的，因此在这里可能不可靠。"
    ),
    "“{method}” isn’t made of layers and heads, so there is none to select.": (
        "“{method}”不是由层和头组成的，因此没有可选的层或头。"
    ),
    "They were calibrated on the validation questions of this checkpoint: right on average over many questions like "
    "those, not for each one, and less on other kinds of photos.": (
        "它们在此检查点的验证问题上校准过：对许多类似的问题平均而言正确，但不保证每一个都对，对其他类型的照片则更不准。"
    ),
    "What attention can’t show": "注意力不能说明什么",
    "It shows what was read, not what was understood or why. A cell’s vector also holds what lies around it, and the "
    "answer may come from the question alone. The verdict is about the map of the whole question, all layers and heads "
    "together.": (
        "它显示读取了什么，而不是理解了什么或为什么。一个格子的向量也包含它周围的内容，而且答案可能只来自问题本身。"
        "上面的判断针对整个问题的热图，即所有层和头合在一起。"
    ),
    # this visit
    "Asked about this photo": "对这张照片的提问",
    "Photos of this visit": "本次访问的照片",
    "1 question": "1 个问题",
    "{count} questions": "{count} 个问题",
    "Back to the photo with {questions}, the last: {last}": "回到有 {questions} 的照片，最后一个：{last}",
    "Ignored in the link, because it can’t be used here: {names}.": "链接中有些内容在这里无法使用，已忽略：{names}。",
    "This link names no example that is here, so nothing of it was opened.": (
        "这个链接没有指明这里的任何示例，因此没有打开任何内容。"
    ),
    # files and links
    "Keep and share": "保存与分享",
    "Files of the question and the maps on the page: a figure for paper or slides, all numbers, or a report that opens "
    "in any browser without a network. A link brings an example, its question and what is selected back.": (
        "把页面上的问题和热图存成文件：供论文或幻灯片使用的图、全部数值，或无需网络、任何浏览器都能打开的报告。"
        "链接可以带回示例照片、问题和所选内容。"
    ),
    "Figure (PNG)": "图（PNG）",
    "Figure (SVG)": "图（SVG）",
    "Figure (PDF)": "图（PDF）",
    "Numbers (JSON)": "数值（JSON）",
    "Report (HTML)": "报告（HTML）",
    "Link to this view": "此视图的链接",
    "Link": "链接",
    "A link can’t carry a photo of your own: it stays on this server for a few hours and is shown to nobody else. "
    "Download the report instead, or ask about one of the examples.": (
        "链接无法携带您自己的照片：它只在本服务器上保留几个小时，不会给别人看。请改为下载报告，或对某个示例提问。"
    ),
    "Explained answer": "被解释的答案",
    "Maps": "热图",
    "Cells": "格子",
    "shown raw": "原样显示",
    "smoothed between": "平滑显示",
    "Scale": "标尺",
    "Part of the photo that the model saw": "模型看到的照片部分",
    "Answers": "答案",
    "Settings": "设置",
    "Made by VALM, {time}.": "由 VALM 生成，{time}。",
    "checkpoint": "检查点",
    "checkpoint sha256": "检查点 sha256",
    "family": "模型族",
    "model type": "模型类型",
    "parameters": "参数量",
    "precision": "数值精度",
    "probabilities": "概率",
    "prompt": "提示词",
    "prompt without template": "不含模板的提示词",
    "revision": "版本",
    "temperature": "温度",
    "yes no temperature": "是非题温度",
    "fusion": "融合方式",
    "text encoder": "文本编码器",
    "image encoder": "图像编码器",
    "where it looked for “{answer}”": "为了“{answer}”它看了哪里",
    "answer: {answer} ({share})": "答案：{answer}（{share}）",
    "answer: {answer}": "答案：{answer}",
    "percentages not calibrated": "百分比未经校准",
    "asked by “{prompt}”": "提问方式：“{prompt}”",
    "The maps of {count} more words are left out, so that this file stays small: the page shows them, and the "
    "JSON file has their numbers.": (
        "为使文件不致过大，未收入另外 {count} 个词的热图：页面上都能看到，JSON 文件里有它们的数字。"
    ),
    "% of the map per cell ({rows} × {columns} cells), one scale for all": (
        "每格占热图的百分比（{rows} × {columns} 个格子），统一标尺"
    ),
    # corrections
    "Wrong? Correct me": "答错了？请纠正",
    "The right answer": "正确答案（英文）",
    "Type it, or pick one of the model’s other answers": "请输入，或选择模型的其他答案",
    "I agree that this photo and these words are kept to train the model.": (
        "我同意保留这张照片和这些文字，用于训练模型。"
    ),
    "Send": "发送",
    "on this server": "在本服务器上",
    "on this server and in the private dataset {name}": "在本服务器上以及私有数据集 {name} 中",
    "this photo without its hidden data (place, time, camera), the question, the model’s answer and yours.": (
        "这张照片（不含其隐藏数据：地点、时间、相机）、问题、模型的答案和您的答案。"
    ),
    "to train the model. What a model has learned from it can’t be taken out of it again.": (
        "训练模型。模型从中学到的内容无法再从模型中移除。"
    ),
    "{where}, for at most {days} days.": "{where}，最多 {days} 天。",
    "you get a number; give it to {contact}, and photo and words are deleted.": (
        "您会得到一个编号；把它交给{contact}，照片和文字就会被删除。"
    ),
    "the Community tab of the Space {name}": "Space {name} 的 Community 页",
    "whoever gave you this page’s address": "给您此页面地址的人",
    "Kept:": "保留内容：",
    "What for:": "用途：",
    "Where, how long:": "地点与时长：",
    "Deletion:": "删除：",
    "Send no photo that shows others against their will.": "请勿发送违背他人意愿、拍到他人的照片。",
    "“{question}” – the model says {answer}.": "“{question}”– 模型回答 {answer}。",
    "Thank you, your correction is stored": "谢谢，您的纠正已保存",
    "This correction was stored already": "这条纠正此前已保存",
    "{began}: “{question}” – {answer}. Keep the number {number} if you may want it deleted.": (
        "{began}：“{question}”– {answer}。如果您可能想删除它，请保留编号 {number}。"
    ),
    "Your correction was not stored: {reason}. What you typed is still in the form. Try again later.": (
        "您的纠正没有保存：{reason}。您输入的内容仍在表单中。请稍后再试。"
    ),
    "This question is no longer on the server, so nothing was stored. Ask it again, then correct the answer.": (
        "这个问题已不在服务器上，因此没有保存任何内容。请重新提问，然后再纠正答案。"
    ),
    # what if
    "What if …": "如果……会怎样",
    "Paint over a part of the photo, switch off words or attention heads, or name the only answers allowed. The model "
    "is asked again; its former answers stay beside the new ones.": (
        "涂掉照片的一部分，关闭某些词或注意力头，或限定只允许的答案。模型会被重新提问；先前的答案与新答案并列显示。"
    ),
    "Paint over what the model should not see": "涂掉模型不应看到的部分",
    "Switch off words": "关闭词",
    "Switch off attention heads": "关闭注意力头",
    "Allow these answers only, with commas between": "只允许这些答案（英文，用逗号分隔）",
    "Ask again": "重新提问",
    "Describe the painted photo": "描述涂抹后的照片",
    "Nothing is painted over yet: paint on the photo first.": "还没有涂抹任何地方：请先在照片上涂抹。",
    "The description stays the same.": "描述没有变化。",
    "The description changes.": "描述变了。",
    "What would change the answer?": "什么会改变答案？",
    "The photo with these cells darkened": "这些格子变暗后的照片",
    "Paint over something and ask again": "涂掉一处再问一次",
    "Only these answers of the model’s list were allowed; their shares sum to 100 % and are not calibrated.": (
        "只允许模型列表中的这些答案；它们的份额合计 100 %，未经校准。"
    ),
    "Not all of these answers are in the model’s list, so each was scored by its nearness in meaning to what the model "
    "finds likely; the shares sum to 100 % and are not calibrated.": (
        "这些答案并不都在模型的列表中，因此按它们与模型认为可能的答案在意义上的接近程度评分；份额合计 100 %，未经校准。"
    ),
    "words read the photo": "词读照片",
    "the photo reads words": "照片读词",
    "words read words": "词读词",
    "the photo reads itself": "照片读自身",
    "all tokens read each other": "所有单元互读",
    "{reads}: layer {layer}, head {head}": "{reads}：第 {layer} 层第 {head} 头",
    "The answer stays {now}.": "答案仍是 {now}。",
    "The answer changes from {before} to {now}.": "答案从 {before} 变为 {now}。",
    "before": "之前",
    "now": "现在",
    "Asked: “{question}”": "提问：“{question}”",
    "Changed: {list}.": "改动：{list}。",
    "Nothing was switched off.": "没有关闭任何内容。",
    "a part of the photo painted over": "涂掉了照片的一部分",
    "without “{word}”": "去掉“{word}”",
    "without the head {head}": "去掉头（{head}）",
    "answers allowed: {answers}": "允许的答案：{answers}",
    "It answers {answer} even when the whole photo is hidden.": "即使遮住整张照片，它也回答 {answer}。",
    "With {count} of {total} cells hidden (shown darkened) it answers {new} and not {answer}.": (
        "遮住 {total} 个格子中的 {count} 个（显示为变暗）后，它回答 {new}，而不是 {answer}。"
    ),
    "No words could be left out to change it from {answer}.": "去掉任何词都无法改变答案 {answer}。",
    "Without {words} it answers {new}.": "去掉 {words} 后它回答 {new}。",
    "Found by a greedy search: a smaller set of other cells may exist.": (
        "由贪心搜索得到：可能存在由其他格子组成的更小集合。"
    ),
    # compare
    "Compare": "比较",
    "Both columns answer the same question about the same photo. Another method explains our own answer; another model "
    "answers for itself, and its map is its own attention. Maps of different models are not on one scale.": (
        "两列回答关于同一张照片的同一个问题。另一种方法解释我们自己的答案；另一个模型自己作答，其热图是它自己的注意力。"
        "不同模型的热图不在同一标尺上。"
    ),
    "Beside our answer and map": "与我们的答案和热图并列",
    "model": "模型",
    "ours": "我们的",
    "the other": "另一个",
    "ours, {method}": "我们的，{method}",
    "map: {method}": "热图：{method}",
    "map: {method}, explaining “{answer}”": "热图：{method}，解释的是“{answer}”",
    "map: {method}; its percentages are not calibrated": "热图：{method}；其百分比未经校准",
    # the page about the API
    "Ask over HTTP": "通过 HTTP 提问",
    "More where the server has models for them: describe, find, tag, relate, judge, feel, read, write.": (
        "服务器有相应模型时还有：describe、find、tag、relate、judge、feel、read、write。"
    ),
    "Three endpoints: answer, explain with the maps and the evidence, and examples.": (
        "三个端点：answer（答案）、explain（附热图和证据）和 examples（示例）。"
    ),
    "Parameters, examples and limits (JSON)": "参数、示例和限制（JSON）",
    "JSON schema of the replies": "回复的 JSON schema",
    "Copy": "复制",
    "Copied": "已复制",
    # messages
    "Add a photo first: drop one, take one, or pick an example.": "请先添加照片：拖入、拍摄，或选择一个示例。",
    "Type a question first, for example “What is in the photo?”": "请先输入问题（英文），例如“What is in the photo?”",
    "This photo is no longer on the server: photos are deleted after a few hours. Upload it again.": (
        "这张照片已不在服务器上：照片会在几小时后删除。请重新上传。"
    ),
    "Type the answer that you want explained, or pick one from the list.": "请输入要解释的答案，或从列表中选择。",
    "Something went wrong on our side. Please try again, perhaps with another photo.": (
        "我们这边出了问题。请再试一次，或换一张照片。"
    ),
    "“{answer}” is not in the model’s list of answers, so it has no probability that could be explained. Pick one of "
    "its answers ({given}), or type another short one.": (
        "“{answer}”不在模型的答案列表中，因此没有可以解释的概率。请选择它的一个答案（{given}），或输入另一个简短的英文答案。"
    ),
}

# What an InputError says that isn't said elsewhere on the page, by its template; "{name}" is filled with its values.
MESSAGES = {
    "This was stopped, since nobody waited for it any more.": "已停止，因为已经没有人在等待结果。",
    "This model chooses its answer from a list; it writes none.": "该模型从列表中选择答案，不会自己写。",
    "A longer text changes with everything that is hidden. Ask for a short answer first.": (
        "较长的文字会随任何遮挡而变化。请先要求简短的回答。"
    ),
    "The GPU’s memory is full. Ask again with a smaller photo, or for a shorter answer.": (
        "GPU 内存已满。请换一张较小的照片再问，或要求较短的回答。"
    ),
    "This prompt is too long: {most} characters at most.": "提示词太长：最多 {most} 个字符。",
    "A prompt needs {image}, where the photo goes, and {question}, once each.": (
        "提示词需要 {image}（放照片处）和 {question}，各出现一次。"
    ),
    "This answer is too long for the model to score. Shorten it.": "该答案太长，模型无法评分。请缩短。",
    "There is no document yet. Choose a photo or a PDF of one.": "还没有文档。请选择一张照片或一个 PDF。",
    "This server has no model that describes photos.": "本服务器没有描述照片的模型。",
    "The text {text!r} has no word. Write what the photo shows.": "文字 {text!r} 中没有单词。请写出照片中有什么。",
    "beams is {beams!r}; allowed: 1 to {most}.": "beams 为 {beams!r}；允许 1 到 {most}。",
    "Mark two parts of the text with brackets, for example: {example}": (
        "请用方括号标出文字中的两个部分，例如：{example}"
    ),
    "A photo is needed to judge a statement. Give one.": "判断一句陈述需要一张照片。请提供一张。",
    "This model reads texts alone. Leave the photo out.": "该模型只读文字。请不要附照片。",
    "The text has {count} words, at most {allowed} words. Give one sentence.": (
        "文字有 {count} 个词，最多 {allowed} 个。请给出一句话。"
    ),
    "The page has {count} lines, at most {allowed} lines.": "页面有 {count} 行，最多 {allowed} 行。",
    "The page has {count} words, at most {allowed} words.": "页面有 {count} 个词，最多 {allowed} 个。",
    "A line of the page has {length} characters, at most {allowed} characters.": (
        "页面中有一行有 {length} 个字符，最多 {allowed} 个。"
    ),
    "No words were found on the page. Send a sharper picture, or one with text on it.": (
        "页面上没有找到文字。请发送更清晰的或带有文字的图片。"
    ),
    "Reading documents needs OCR. Install it with: .venv/bin/pip install -e '.[read]'": (
        "阅读文档需要 OCR。安装命令：.venv/bin/pip install -e '.[read]'"
    ),
    "Reading PDF files needs pypdfium2. Install it with: .venv/bin/pip install -e '.[read]'": (
        "阅读 PDF 文件需要 pypdfium2。安装命令：.venv/bin/pip install -e '.[read]'"
    ),
    "{name} can't be read as a PDF: it is damaged or locked by a password. Save it anew without one.": (
        "无法将 {name} 作为 PDF 打开：文件已损坏或有密码。请重新保存为没有密码的文件。"
    ),
    "Page {page} of {name} is damaged.": "{name} 的第 {page} 页已损坏。",
    "Page {page} of {name} is too complex to be drawn. Send a picture of it.": (
        "{name} 的第 {page} 页过于复杂，无法绘制。请发送该页的图片。"
    ),
    "{name} has {count} pages; 1 to {most} are allowed. Send a part of it.": (
        "{name} 有 {count} 页；允许 1 到 {most} 页。请发送其中一部分。"
    ),
    "There is no page {page} in {name}; it has {count}.": "{name} 没有第 {page} 页；共有 {count} 页。",
    "There is no page {page} in a picture; it has 1.": "图片没有第 {page} 页；只有 1 页。",
    "Page {page} of {name} has a size of {width} x {height} points, which no page has.": (
        "{name} 的第 {page} 页大小为 {width} x {height} 点，不是正常的页面。"
    ),
    "The text is empty. Write some words.": "文字为空。请写几个词。",
    "The text is too long: {length} characters, at most {allowed}. Shorten it.": (
        "文字太长：{length} 个字符，最多 {allowed} 个。请缩短。"
    ),
    "The text is too long: {length} word pieces (a word has one or more), at most {allowed}. Shorten it.": (
        "文字太长：{length} 个词片（一个词有一个或多个），最多 {allowed} 个。请缩短。"
    ),
    "Text {number}: {error}": "第 {number} 条文字：{error}",
    "There is no photo yet. Upload one, or pick an example.": "还没有照片。请上传一张，或选择一个示例。",
    "There is no file '{name}'. Check the path.": "没有文件“{name}”。请检查路径。",
    "The photo has more than {most} MB. Shrink it.": "照片超过 {most} MB。请缩小它。",
    "The photo is no base64 text. Send data:image/jpeg;base64, and then the file’s content in base64.": (
        "照片不是 base64 文本。请发送 data:image/jpeg;base64, 后接文件内容的 base64。"
    ),
    "This server fetches no addresses and opens no files but what was uploaded to it. Upload the photo (POST "
    "/gradio_api/upload, handle_file in gradio_client), or send it as text: data:image/jpeg;base64,…": (
        "本服务器不会获取网址，也只打开上传给它的文件。请上传照片（POST /gradio_api/upload，或 gradio_client 的 "
        "handle_file），或以文本发送：data:image/jpeg;base64,…"
    ),
    "This model knows no concepts, so it can't say what a photo shows. Ask it a question.": (
        "这个模型没有概念，因此无法说出照片里有什么。请向它提问。"
    ),
    "An exported model can't answer with parts switched off. Use its checkpoint for that.": (
        "导出的模型无法在关闭某些部分后作答。请使用它的检查点。"
    ),
    "An exported model can't look for what would change its answer. Use its checkpoint for that.": (
        "导出的模型无法寻找会改变其答案的内容。请使用它的检查点。"
    ),
    "An exported model can't name what a photo shows. Use its checkpoint for that.": (
        "导出的模型无法说出照片里有什么。请使用它的检查点。"
    ),
    "{name} has {size} MB; at most {most} MB are read. Shrink it.": "照片有 {size} MB；最多读取 {most} MB。请缩小它。",
    "{name} can't be read as a photo. Send {formats}; if it is one, it is damaged.": (
        "{name} 无法作为照片读取。请发送 {formats}；如果它是照片，则已损坏。"
    ),
    "{name} can't be read now: {reason}. Check that it is there and may be read.": (
        "{name} 现在无法读取：{reason}。请检查它是否存在且可读。"
    ),
    "The photo is empty: {width} x {height} pixels. Send another.": (
        "照片是空的：{width} x {height} 像素。请发送另一张。"
    ),
    "The photo has far more pixels; at most {most} million are read. Shrink it.": (
        "照片的像素太多；最多读取 {most} 百万像素。请缩小它。"
    ),
    "The photo has {width} x {height} pixels; at most {most} a side are read. Crop it, or shrink it.": (
        "照片为 {width} x {height} 像素；每边最多读取 {most} 像素。请裁剪或缩小它。"
    ),
    "The photo has more than {most} JPEG scans. Save it anew and send that.": (
        "照片的 JPEG 扫描超过 {most} 次。请重新保存后再发送。"
    ),
    "The photo has more than {most} frames. Save it anew and send that.": "照片有超过 {most} 帧。请重新保存后再发送。",
    "The photo has {count} pixels; at most {most} million are read. Shrink it.": (
        "照片有 {count} 像素；最多读取 {most} 百万像素。请缩小它。"
    ),
    "The question is empty. Type one, for example: What is in the photo?": (
        "问题是空的。请输入一个，例如：What is in the photo?"
    ),
    "The question is too long: {length} word pieces (a word has one or more), at most {allowed}. Shorten it.": (
        "问题太长：{length} 个词片（一个词有一个或多个），最多 {allowed} 个。请缩短。"
    ),
    "The question is too long: {length} characters, at most {allowed} characters. Shorten it.": (
        "问题太长：{length} 个字符，最多 {allowed} 个。请缩短。"
    ),
    "The {text} has half a character at place {place}: {code}, as a cut emoji leaves it. Type it anew.": (
        "第 {place} 个位置只有半个字符（{code}），像被截断的表情符号。请重新输入。"
    ),
    "The model wrote nothing. Ask in other words.": "模型没有写出任何答案。请换一种说法提问。",
    "{name}: {location} can't be used: {error}": "{name}：无法使用 {location}：{error}",
    "This model names no concepts. Ask it what is in the photo instead.": (
        "此模型不列出照片中的概念。请直接问它照片里有什么。"
    ),
    "With this model only the map of the whole question is checked. Look at its evidence.": (
        "这个模型只检验整个问题的热图。请看它的证据。"
    ),
    "The attention heads of this model can't be switched off.": "无法关闭此模型的注意力头。",
    "This photo has no attention map with this model. Choose occlusion.": (
        "此模型无法为这张照片生成注意力热图。请选择遮挡。"
    ),
    "Every word is switched off. Leave at least one.": "所有的词都关闭了。请至少保留一个。",
    "Only one answer to choose from: {answer}. Give at least two.": "只有一个可选答案：{answer}。请至少给出两个。",
    "{count} answers to choose from; at most {most} are allowed.": "有 {count} 个可选答案；最多允许 {most} 个。",
    "An answer to choose from has {count} letters; at most {most}.": "有个可选答案有 {count} 个字母；最多 {most} 个。",
    "Nothing was stored: tick the box if you agree that the photo and your answer are kept.": (
        "没有保存任何内容：如果您同意保留照片和您的答案，请勾选。"
    ),
    "“{answer}” is what the model answered. Type the right answer if that one is wrong.": (
        "“{answer}”正是模型的回答。如果它错了，请输入正确答案。"
    ),
    "The right answer is empty. Type it, for example: two": "正确答案是空的。请输入，例如：two",
    "You have sent {count} corrections within an hour, the most we take. Send the next ones later. What you typed is "
    "still in the form.": "您在一小时内已发送 {count} 条纠正，这是上限。请稍后再发送。您输入的内容仍在表单中。",
    "another program is writing to the database": "另一个程序正在写入数据库",
    "the disk is full": "磁盘已满",
    "the database is read-only": "数据库是只读的",
    "the database can't be opened": "无法打开数据库",
    "the store of corrections is full": "纠正的存储空间已满",
    "The answer has {count} characters, at most {most} are kept. Give the answer alone.": (
        "答案有 {count} 个字符，最多保留 {most} 个。请只写答案。"
    ),
}
