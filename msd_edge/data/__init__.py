"""Data sets: sources, splits that share no image, batches on the device, augmentation."""
