"""The rows that steps pass on, as Arrow schemas. Image bytes stand in the row, as in the `datasets` library."""

import pyarrow as pa

IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
RESPONSES = pa.list_(
    pa.struct(
        [
            ("text", pa.string()),
            ("token_count", pa.int32()),
            ("finish_reason", pa.string()),
            ("accuracy", pa.float32()),
            ("logprob", pa.float32()),  # sum over the answer's tokens, of the distribution sampled from
        ]
    )
)

SFT_SCHEMA = pa.schema([("qid", pa.string()), ("messages", MESSAGES), ("images", IMAGES)])

RL_SCHEMA = pa.schema(
    [
        ("qid", pa.string()),
        ("problem", pa.string()),
        ("answer", pa.string()),
        ("key_words", pa.list_(pa.string())),
        ("images", IMAGES),
        ("extra", pa.string()),  # the source's further columns, a JSON object
    ]
)

ROLLOUT_SCHEMA = RL_SCHEMA.append(pa.field("responses", RESPONSES))

SPLIT_SCHEMA = pa.schema(
    [*RL_SCHEMA, ("difficulty", pa.string()), ("correct", pa.int32()), ("samples", pa.int32())],
)

REJECTED_SCHEMA = pa.schema([("qid", pa.string()), ("row", pa.string()), ("reason", pa.string())])
