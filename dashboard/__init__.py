"""The Streamlit app. It never imports torch: heavy work runs in worker processes."""
