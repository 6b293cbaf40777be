"""The page as gradio sees it: components, events, and what wires them."""
