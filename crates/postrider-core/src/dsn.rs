//! Delivery status notifications (RFC 3464 in a multipart/report of RFC 6522).
