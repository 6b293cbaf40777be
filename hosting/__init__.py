"""What puts the page elsewhere: a Hugging Face Space's folder. The container's recipe is ../Dockerfile."""
