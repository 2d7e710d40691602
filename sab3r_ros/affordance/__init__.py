"""From a prompt and an object's points to regions that afford an action, and grasps on them."""
