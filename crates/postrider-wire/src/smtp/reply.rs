//! Replies: the values that both sides speak of, and the table of all that our server says.
