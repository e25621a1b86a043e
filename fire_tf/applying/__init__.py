"""What transforms are applied to: images, label maps, series and points; and what they do to volumes."""
