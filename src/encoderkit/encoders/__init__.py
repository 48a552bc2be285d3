"""An encoder defined once, as data: typed blocks with weights named after their meaning."""
