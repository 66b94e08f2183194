"""Integer cost terms and predicted lengths from what was timed and recorded."""
