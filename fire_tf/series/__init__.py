"""The frames of a series: a beating heart."""
