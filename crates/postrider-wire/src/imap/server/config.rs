//! What a session is told when it begins: what is offered, and limits. It knows no setting and no default of users.

pub use crate::smtp::server::{AuthPolicy, TlsFacts};

/// What all sessions of a listener share.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The text of the greeting.
    pub banner: String,
    pub limits: Limits,
    /// Whether STARTTLS is offered to sessions that are not encrypted.
    pub starttls: bool,
    /// Whether LOGIN and AUTHENTICATE are offered in the clear (`LOGINDISABLED` otherwise).
    pub auth: AuthPolicy,
    /// Whether COMPRESS=DEFLATE (RFC 4978) is offered.
    pub compress: bool,
    /// What CAPABILITY names, beyond what the machine does by itself, once the client has logged in.
    pub extensions: Vec<&'static str>,
    /// From this the salts are made that unknown users seem to have. To be the same on all nodes and after restarts, or
    /// the change betrays who is unknown.
    pub scram_decoy_key: [u8; 32],
}

impl ServerConfig {
    /// Extensions whose syntax the machine reads. To carry them out is the driver's: it leaves out what it cannot.
    pub const EXTENSIONS: &[&str] = &[
        "NAMESPACE",
        "CHILDREN",
        "UIDPLUS",
        "MOVE",
        "UNSELECT",
        "CONDSTORE",
        "QRESYNC",
        "ESEARCH",
        "SEARCHRES",
        "WITHIN",
        "SORT",
        "SORT=DISPLAY",
        "ESORT",
        "THREAD=ORDEREDSUBJECT",
        "THREAD=REFERENCES",
        "LIST-EXTENDED",
        "LIST-STATUS",
        "SPECIAL-USE",
        "CREATE-SPECIAL-USE",
        "STATUS=SIZE",
        "BINARY",
        "MULTIAPPEND",
        "CATENATE",
        "QUOTA",
        "QUOTA=RES-STORAGE",
        "QUOTA=RES-MESSAGE",
        "OBJECTID",
        "SAVEDATE",
        "PREVIEW",
        "REPLACE",
        "UTF8=ACCEPT",
        "METADATA",
        "NOTIFY",
        "INPROGRESS",
    ];

    /// A configuration that offers all but STARTTLS, AUTHENTICATE and COMPRESS, with default limits and a decoy key of
    /// this process alone.
    pub fn new(banner: impl Into<String>) -> Self {
        let mut scram_decoy_key = [0; 32];
        // Without random numbers the decoy salts could be guessed; nothing else hangs on this key.
        let _ = getrandom::fill(&mut scram_decoy_key);
        Self {
            banner: banner.into(),
            limits: Limits::default(),
            starttls: false,
            auth: AuthPolicy::Never,
            compress: false,
            extensions: Self::EXTENSIONS.to_vec(),
            scram_decoy_key,
        }
    }
}

/// Every length and number that a client controls.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of a line with its end, before login, and of a whole command with its literals. An initial response of SASL may be
    /// long.
    pub greeting_line_bytes_max: usize,
    /// Of a line with its end, after login. Clients send sets of thousands of UIDs in one (RFC 7162 section 4 asks for
    /// 8,192).
    pub line_bytes_max: usize,
    /// Of a literal that is a string, not a message, before login.
    pub greeting_literal_bytes_max: usize,
    /// Of a literal that is a string, not a message. A value of METADATA is one.
    pub literal_bytes_max: usize,
    /// Of a message that is appended (APPENDLIMIT, RFC 7889).
    pub message_bytes_max: usize,
    /// Of a whole command without its messages: lines and strings together.
    pub command_bytes_max: usize,
    /// Literals in one command.
    pub literals_max: usize,
    /// Of all messages of one APPEND together (RFC 3502).
    pub append_bytes_max: usize,
    /// Of refused literals of one command that are read only to be thrown away; what announces more ends the session.
    pub discarded_bytes_max: u64,
    /// Reserved at once for a message whose size was announced. What goes beyond is reserved as it comes.
    pub reserved_bytes_max: usize,
    pub mailbox_name_bytes_max: usize,
    pub sequence_ranges_max: usize,
    /// Of keys within keys.
    pub search_depth_max: usize,
    pub search_keys_max: usize,
    /// Items, flags, fields, entries, names, patterns: of whatever stands in one list.
    pub list_items_max: usize,
    /// Commands answered with BAD since the last one that was carried out; the next one ends the session.
    pub errors_max: usize,
    /// Failed logins; the next one ends the session.
    pub login_failures_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            greeting_line_bytes_max: 12_288,
            line_bytes_max: 65_536,
            greeting_literal_bytes_max: 1024,
            literal_bytes_max: 65_536,
            message_bytes_max: 10_485_760,
            command_bytes_max: 262_144,
            literals_max: 1000,
            append_bytes_max: 64 << 20,
            discarded_bytes_max: 256 << 20,
            reserved_bytes_max: 256 << 10,
            mailbox_name_bytes_max: 1024,
            sequence_ranges_max: 20_000,
            search_depth_max: 50,
            search_keys_max: 1000,
            list_items_max: 1000,
            errors_max: 20,
            login_failures_max: 5,
        }
    }
}
