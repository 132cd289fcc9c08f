"""The endpoints, each file a group of them."""
