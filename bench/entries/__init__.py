"""Encoders that are entered: folders of records that are checked before they count."""
