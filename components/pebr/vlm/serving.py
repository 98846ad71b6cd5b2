"""The chat template of a server: it asks every question with the model's own prompt, as training did.

A server such as vLLM's knows a model's chat template, and nothing of `prompt.txt`. So the prompt becomes part of a
second chat template, `SERVING_FILE`: it puts each user message into the prompt's words, and then does what the model's
own template does. The model's own template stays as it is: the steps add the prompt themselves.

A client sends the question alone. An image stands where its part of the message stands; the text `<image>` has no
meaning. The server must render messages as lists of parts: `--chat-template-content-format openai`.
"""

import json
from pathlib import Path

from pebr.errors import InputError
from pebr.vlm.prompt import QUESTION

SERVING_FILE = "serving_template.jinja"
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")  # the first that has one counts

# As `user_turn`: no white space around the question, no line breaks around images.
_ASK = """\
{%- set asked = namespace(messages=[]) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}
        {%- if message.content is string -%}
            {%- set given = [{'type': 'text', 'text': message.content}] -%}
        {%- else -%}
            {%- set given = message.content -%}
        {%- endif -%}
        {%- set put = namespace(parts=[{'type': 'text', 'text': before}]) -%}
        {%- for part in given -%}
            {%- if part.type == 'text' -%}
                {%- set text = part.text.lstrip() if loop.first else part.text -%}
                {%- set text = text.rstrip() if loop.last else text -%}
                {%- set put.parts = put.parts + [{'type': 'text', 'text': text.strip('\\r\\n')}] -%}
            {%- else -%}
                {%- set put.parts = put.parts + [part] -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set put.parts = put.parts + [{'type': 'text', 'text': after}] -%}
        {%- set asked.messages = asked.messages + [{'role': 'user', 'content': put.parts}] -%}
    {%- else -%}
        {%- set asked.messages = asked.messages + [message] -%}
    {%- endif -%}
{%- endfor -%}
{%- set messages = asked.messages -%}
"""


def serving_template(chat_template: str, prompt: str) -> str:
    """The chat template that asks with a prompt, which has `QUESTION` once.

    Args:
        chat_template: the model's own.
        prompt: as `read_template` returns it.
    """
    before, after = (json.dumps(part, ensure_ascii=False) for part in prompt.split(QUESTION))  # as Jinja literals
    return f"{{%- set before = {before} -%}}\n{{%- set after = {after} -%}}\n{_ASK}{chat_template}"


def own_chat_template(directory: Path) -> str:
    """The chat template in the files of a model's directory.

    Raises:
        InputError: it has none.
    """
    for name in TEMPLATE_FILES:
        path = directory / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        found = text if path.suffix == ".jinja" else json.loads(text).get("chat_template")
        if isinstance(found, str) and found:
            return found
    raise InputError(f"{directory}: no chat template in {', '.join(TEMPLATE_FILES)}: fetch the model again")
