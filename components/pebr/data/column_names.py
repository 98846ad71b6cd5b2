"""The names of the columns of published data sets. Imports no library: settings read it."""

from pebr.errors import InputError

NAMES: dict[str, tuple[str, ...]] = {  # what is read -> names of its column, the first with a value counts
    "messages": ("messages", "conversations", "conversation"),
    "question": ("problem", "question", "prompt", "query"),
    "answer": ("answer", "solution", "ground_truth", "reward_model"),
    "images": (
        *("images", "image", "image_path", "image_paths", "img", "img_path", "image_file", "picture", "pictures"),
        *("image_url", "image_urls"),
    ),
    "options": ("options", "choices"),
    "qid": ("qid", "question_id", "id", "uid"),
    "key_words": ("key_words", "keywords"),
}


def columns_of(text: str) -> dict[str, tuple[str, ...]]:
    """The names of columns, changed by a setting such as "question=my_question, images=left|right".

    Raises:
        InputError: what is read is unknown.
    """
    names = dict(NAMES)
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        what, _, given = entry.partition("=")
        if what.strip() not in NAMES or not given.strip():
            raise InputError(f"--columns {text}: {entry!r}: give {', '.join(f'{name}=COLUMN' for name in NAMES)}")
        names[what.strip()] = tuple(name.strip() for name in given.split("|"))
    return names
