"""`sab3r view`: a page in the browser that shows a map and answers questions to it (extra [view])."""
