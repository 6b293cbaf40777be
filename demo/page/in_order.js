() => {
  // Events that gradio answers at once, past its queue, are requests of their own: their replies may overtake each
  // other, and the older answer would stay. They are handed on in the order in which they were asked for; one that
  // takes longer than ten seconds holds up no other.
  if (window.valmInOrder) return;
  window.valmInOrder = true;
  const send = window.fetch;
  const read = async (reply) => {
    const answer = await reply;
    const text = await answer.text();
    return Object.assign(answer, {text: async () => text, json: async () => JSON.parse(text)});
  };
  let before = Promise.resolve();
  window.fetch = (where, ...options) => {
    const reply = send(where, ...options);
    if (!/\/run\/predict\b/.test(where?.url ?? where)) return reply;
    const whole = read(reply);
    const turn = Promise.race([before, new Promise((done) => setTimeout(done, 10000))]).then(() => whole);
    whole.catch(() => {});  // whoever asked is told at its turn
    before = turn.catch(() => {});
    return turn;
  };
}
