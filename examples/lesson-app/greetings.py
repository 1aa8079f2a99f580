GREETINGS = {
    "en": "Hello",
    "pl": "Cześć",
    "de": "Hallo",
}
