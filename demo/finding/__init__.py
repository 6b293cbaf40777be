"""The page "Find": the server's own photos, found by words or by a photo. Uploads of visitors are never indexed."""
