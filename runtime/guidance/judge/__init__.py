"""The judge: a small image-text matcher that scores pictures against prompts, trained apart from the prior."""
