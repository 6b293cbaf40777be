"""Descriptions of photos with a trained caption model, and the evidence for every word of them."""
