//! What a server offers: its answer to EHLO, read (RFC 5321 section 4.1.1.1).

use crate::smtp::reply::Reply;

/// The extensions of the other server that we know how to use. All false and none after HELO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870.
    pub size: bool,
    /// The largest message that the server takes, in bytes; `None` where it named no limit.
    pub size_bytes_max: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 6710.
    pub mt_priority: bool,
    /// RFC 8689.
    pub require_tls: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 4954.
    pub auth: AuthMechanisms,
}

/// The SASL mechanisms that the server offers and that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuthMechanisms {
    /// RFC 7677.
    pub scram_sha_256: bool,
    /// RFC 4616.
    pub plain: bool,
    /// Never standardised; draft-murchison-sasl-login.
    pub login: bool,
}

impl Capabilities {
    /// Reads a positive answer to EHLO. What is not understood is passed over.
    pub fn parse(ehlo: &Reply) -> Self {
        let mut capabilities = Self::default();
        // The first line is the server's name and greeting.
        for line in ehlo.text.split('\n').skip(1) {
            capabilities.read_line(line);
        }
        capabilities
    }

    fn read_line(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => {
                self.size = true;
                // RFC 1870 section 4: zero means that there is no fixed limit.
                self.size_bytes_max = words.next().and_then(|size| size.parse().ok()).filter(|&size| size > 0);
            }
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "STARTTLS" => self.starttls = true,
            "DSN" => self.dsn = true,
            "CHUNKING" => self.chunking = true,
            "REQUIRETLS" => self.require_tls = true,
            "MT-PRIORITY" => self.mt_priority = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "AUTH" => words.for_each(|mechanism| self.auth.add(mechanism)),
            // Old servers write `AUTH=LOGIN PLAIN`.
            keyword => {
                if let Some(first) = keyword.strip_prefix("AUTH=") {
                    self.auth.add(first);
                    words.for_each(|mechanism| self.auth.add(mechanism));
                }
            }
        }
    }
}

impl AuthMechanisms {
    fn add(&mut self, mechanism: &str) {
        match mechanism.to_ascii_uppercase().as_str() {
            "SCRAM-SHA-256" => self.scram_sha_256 = true,
            "PLAIN" => self.plain = true,
            "LOGIN" => self.login = true,
            _ => {}
        }
    }
}
