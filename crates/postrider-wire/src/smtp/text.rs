//! What messages look like on the wire: line ends, dot-stuffing, the end of data (RFC 5321 section 4.5.2).
