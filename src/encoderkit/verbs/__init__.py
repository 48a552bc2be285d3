"""The verbs: values in, values out. Nothing here prints."""
