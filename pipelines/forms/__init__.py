"""The compiled pipeline in the forms that clusters take."""
