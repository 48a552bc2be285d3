"""What lies on disk: artifacts, their manifests, and the cache that they make up."""
