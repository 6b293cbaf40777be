"""The app: `python app.py` on your machine, and a Hugging Face Space's entry. Serves the page, see demo/serve.py."""

from demo.serve import main

if __name__ == "__main__":
    main()
