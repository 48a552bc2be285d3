"""Items out of files and results into files: a row of a table for every format, known by a name's ending."""

from __future__ import annotations

from encoderkit.lazy import Entry

# A reader is called as `read(opened, wanted)` and gives an iterator of Record | BadRecord.
READERS: dict[str, Entry] = {
    ".txt": Entry(
        target="encoderkit.records.lines:read_text", summary="one item a line, two fields by a tab"
    ),
    ".jsonl": Entry(target="encoderkit.records.lines:read_jsonl", summary="a JSON object or text a line"),
    ".ndjson": Entry(target="encoderkit.records.lines:read_jsonl", summary="the same as .jsonl"),
    ".csv": Entry(target="encoderkit.records.tables:read_csv", summary="a header, then a row an item"),
    ".tsv": Entry(target="encoderkit.records.tables:read_tsv", summary="the same by tabs, without quoting"),
    ".json": Entry(target="encoderkit.records.documents:read_json", summary="a list of objects, or SQuAD"),
    ".parquet": Entry(
        target="encoderkit.records.parquet:read_parquet",
        summary="a row an item",
        requires="pyarrow",
        install="encoderkit[parquet]",
    ),
}

# Results go into files that grow row by row, so that they can be watched and a stopped job continued. Called
# as `layout(columns)`, for Rows.
GROWING: dict[str, Entry] = {
    ".jsonl": Entry(target="encoderkit.records.rows:JsonRows", summary="a JSON object a line"),
    ".csv": Entry(target="encoderkit.records.rows:csv_layout", summary="a header, then a row a result"),
    ".tsv": Entry(target="encoderkit.records.rows:tsv_layout", summary="the same by tabs"),
}
# What can't grow is made at the end out of rows of JSON; called as `convert(part, sink)`.
CONVERTED: dict[str, Entry] = {
    ".json": Entry(target="encoderkit.records.documents:write_json", summary="a list of objects"),
    ".parquet": Entry(
        target="encoderkit.records.parquet:write_parquet",
        summary="a row a result",
        requires="pyarrow",
        install="encoderkit[parquet]",
    ),
}
COUNT_ROWS = Entry(
    target="encoderkit.records.parquet:count_rows",
    summary="how many rows a .parquet file has",
    requires="pyarrow",
    install="encoderkit[parquet]",
)
