"""A saved map as files of other programs; each writer needs its own library, none of which the rest of the system imports."""
