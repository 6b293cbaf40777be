"""What happens in a visit, without gradio: photos, questions, answers, and what is kept of them."""
