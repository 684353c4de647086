//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, with and without channel binding.
//!
//! It sees keys, never passwords, but for the one function that makes keys of a password. It knows no users: whoever
//! drives it looks the keys up.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

use super::{ChannelBinding, Step, credential};

const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// What a server keeps of a password (RFC 5802 section 3). `Debug` does not show the keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: [u8; KEY_BYTES],
    pub server_key: [u8; KEY_BYTES],
}

impl ScramKeys {
    /// RFC 7677 section 4 asks for 4,096 at least. More would be better against a stolen store, but every client has to
    /// do them at each login.
    pub const ITERATIONS: u32 = 4096;
    pub const SALT_BYTES: usize = 16;

    /// Keys of a password with a new salt. Fails where the machine gives no random numbers.
    pub fn generate(password: &str) -> Result<Self, getrandom::Error> {
        let mut salt = [0; Self::SALT_BYTES];
        getrandom::fill(&mut salt)?;
        Ok(Self::derive(password, &salt, Self::ITERATIONS))
    }

    /// Keys of a password. 0 iterations are taken as 1.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let mut salted_password = [0; KEY_BYTES];
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted_password);
        let client_key = hmac_sha256(&salted_password, b"Client Key");
        Self {
            salt: salt.to_vec(),
            iterations: rounds.get(),
            stored_key: sha256(&client_key),
            server_key: hmac_sha256(&salted_password, b"Server Key"),
        }
    }

    /// Keys that no password fits, always with the same salt for the same user: an unknown user looks like a known one.
    fn decoy(decoy_key: &[u8; 32], user: &str) -> Self {
        let of = |purpose: &str| hmac_sha256(decoy_key, format!("{purpose}\0{user}").as_bytes());
        Self {
            salt: of("salt")[..Self::SALT_BYTES].to_vec(),
            iterations: Self::ITERATIONS,
            stored_key: of("stored"),
            server_key: of("server"),
        }
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// A SCRAM exchange.
pub(super) struct Server {
    plus: bool,
    channel_binding: Option<ChannelBinding>,
    decoy_key: [u8; 32],
    /// Only tests set it beforehand.
    nonce: Option<String>,
    stage: Stage,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("plus", &self.plus).finish_non_exhaustive()
    }
}

enum Stage {
    First,
    Lookup(ClientFirst),
    Proof {
        first: ClientFirst,
        nonce: String,
        server_first: String,
        keys: ScramKeys,
        user_is_known: bool,
    },
    /// The server's signature was sent; the client has nothing more to say.
    Confirm {
        user: String,
    },
}

/// What stays of the client's first message.
struct ClientFirst {
    gs2_header: String,
    bare: String,
    user: String,
    nonce: String,
}

/// The client's last message.
struct ClientFinal<'a> {
    /// What the proof is over, of this message.
    without_proof: &'a str,
    binding: Vec<u8>,
    nonce: &'a str,
    proof: [u8; KEY_BYTES],
}

impl Server {
    /// 144 bits of a nonce cannot be guessed.
    const NONCE_BYTES: usize = 18;

    pub(super) fn new(plus: bool, channel_binding: Option<ChannelBinding>, decoy_key: [u8; 32]) -> Self {
        Self { plus, channel_binding, decoy_key, nonce: None, stage: Stage::First }
    }

    pub(super) fn response(mut self, response: &[u8]) -> (Option<Self>, Step) {
        match self.stage {
            Stage::First => {
                // Section 5: a client that has nothing to say first gets an empty challenge; this is its answer.
                let Some(first) = self.read_client_first(response) else { return (None, Step::Malformed) };
                let user = first.user.clone();
                self.stage = Stage::Lookup(first);
                (Some(self), Step::Lookup { user })
            }
            Stage::Proof { ref first, ref nonce, ref server_first, ref keys, user_is_known } => {
                let Some(last) = ClientFinal::read(response) else { return (None, Step::Malformed) };
                let auth_message = format!("{},{server_first},{}", first.bare, last.without_proof);
                let user = first.user.clone();
                // What is bound to another connection or belongs to another exchange proves nothing: it fails as a wrong
                // password does, and counts as one (section 5.1 under "e": channel-bindings-dont-match, other-error).
                let is_of_this_exchange = last.binding == self.expected_binding(first) && last.nonce == nonce;
                if !(proof_holds(keys, &auth_message, &last.proof) & user_is_known & is_of_this_exchange) {
                    return (None, Step::Failure { user });
                }
                let signature = hmac_sha256(&keys.server_key, auth_message.as_bytes());
                self.stage = Stage::Confirm { user };
                (Some(self), Step::Challenge(format!("v={}", BASE64.encode(signature)).into_bytes()))
            }
            // RFC 4954 section 4: the server's last word goes in a challenge, which the client answers with nothing.
            Stage::Confirm { user } if response.is_empty() => (None, Step::Success { user }),
            Stage::Lookup(_) | Stage::Confirm { .. } => (None, Step::Malformed),
        }
    }

    pub(super) fn keys(mut self, keys: Option<ScramKeys>) -> (Option<Self>, Step) {
        let Stage::Lookup(first) = self.stage else { return (None, Step::Malformed) };
        let Some(own_nonce) = self.nonce.take().or_else(random_nonce) else { return (None, Step::Unavailable) };
        let user_is_known = keys.is_some();
        let keys = keys.unwrap_or_else(|| ScramKeys::decoy(&self.decoy_key, &first.user));
        let nonce = format!("{}{own_nonce}", first.nonce);
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&keys.salt), keys.iterations);
        let challenge = server_first.clone().into_bytes();
        self.stage = Stage::Proof { first, nonce, server_first, keys, user_is_known };
        (Some(self), Step::Challenge(challenge))
    }

    /// `gs2-header client-first-message-bare` (RFC 5802 section 7).
    fn read_client_first(&self, response: &[u8]) -> Option<ClientFirst> {
        let text = std::str::from_utf8(response).ok()?;
        let (binding, rest) = text.split_once(',')?;
        let (identity, bare) = rest.split_once(',')?;
        let binding_holds = match (binding, &self.channel_binding) {
            ("n", _) => !self.plus,
            // Section 6: the client could bind and thinks we cannot. If we offered it, somebody took the offer away.
            ("y", offered) => !self.plus && offered.is_none(),
            (_, Some(offered)) => self.plus && binding.strip_prefix("p=") == Some(offered.name),
            (_, None) => false,
        };
        if !binding_holds {
            return None;
        }
        // A mandatory extension (m=) would stand here, and none is known: then this is no user name either.
        let mut attributes = bare.split(',');
        let user = sasl_name(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if nonce.is_empty() || !nonce.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
            return None;
        }
        let identity_holds = match identity.strip_prefix("a=") {
            Some(name) => sasl_name(name)? == user,
            None => identity.is_empty(),
        };
        identity_holds.then(|| ClientFirst {
            gs2_header: text[..text.len() - bare.len()].to_owned(),
            bare: bare.to_owned(),
            user,
            nonce: nonce.to_owned(),
        })
    }

    /// What the client's last message must be bound to: the header of its first one, and with -PLUS this connection.
    fn expected_binding(&self, first: &ClientFirst) -> Vec<u8> {
        let mut expected = first.gs2_header.clone().into_bytes();
        if let Some(binding) = self.channel_binding.as_ref().filter(|_| self.plus) {
            expected.extend_from_slice(&binding.data);
        }
        expected
    }
}

impl<'a> ClientFinal<'a> {
    /// `client-final-message` (section 7). Whether it is of this exchange is not its reader's matter.
    fn read(response: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(response).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding = BASE64.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        Some(Self { without_proof, binding, nonce, proof: BASE64.decode(proof).ok()?.try_into().ok()? })
    }
}

/// Section 3: ClientKey is the proof XOR ClientSignature, and StoredKey its hash.
fn proof_holds(keys: &ScramKeys, auth_message: &str, proof: &[u8; KEY_BYTES]) -> bool {
    let signature = hmac_sha256(&keys.stored_key, auth_message.as_bytes());
    let mut client_key = [0; KEY_BYTES];
    for (byte, (signed, proven)) in client_key.iter_mut().zip(signature.iter().zip(proof)) {
        *byte = signed ^ proven;
    }
    // Comparing the tags of both under one key takes the same time wherever they differ.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.server_key);
    hmac::verify(&key, &sha256(&client_key), hmac::sign(&key, &keys.stored_key).as_ref()).is_ok()
}

/// A user name with `=2C` for comma and `=3D` for the equals sign (section 5.1).
fn sasl_name(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut parts = text.split('=');
    name.push_str(parts.next()?);
    for part in parts {
        let (escaped, rest) = part.split_at_checked(2)?;
        name.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    credential(name.as_bytes()).map(str::to_owned)
}

fn random_nonce() -> Option<String> {
    let mut bytes = [0; Server::NONCE_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(BASE64.encode(bytes))
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; KEY_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    fixed(tag.as_ref())
}

fn sha256(message: &[u8]) -> [u8; KEY_BYTES] {
    fixed(digest::digest(&digest::SHA256, message).as_ref())
}

fn fixed(bytes: &[u8]) -> [u8; KEY_BYTES] {
    bytes.try_into().expect("SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECOY_KEY: [u8; 32] = [7; 32];
    // RFC 7677 section 3.
    const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn server(plus: bool, binding: Option<&[u8]>) -> Server {
        let binding = binding.map(|data| ChannelBinding { name: "tls-exporter", data: data.to_vec() });
        Server { nonce: Some(SERVER_NONCE.to_owned()), ..Server::new(plus, binding, DECOY_KEY) }
    }

    fn keys() -> ScramKeys {
        ScramKeys::derive("pencil", &BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096)
    }

    /// Leads an exchange up to the server's first message.
    fn begun(server: Server, client_first: &[u8], keys: Option<ScramKeys>) -> (Server, String) {
        let (server, step) = server.response(client_first);
        assert!(matches!(step, Step::Lookup { .. }), "{step:?}");
        let (server, step) = server.unwrap().keys(keys);
        let Step::Challenge(challenge) = step else { panic!("{step:?}") };
        (server.unwrap(), String::from_utf8(challenge).unwrap())
    }

    /// A client's last message with a right proof.
    fn client_final(password: &str, binding: &[u8], client_first_bare: &str, server_first: &str) -> Vec<u8> {
        let attribute = |name| server_first.split(',').find_map(|a: &str| a.strip_prefix(name)).unwrap();
        let mut salted = [0; KEY_BYTES];
        let salt = BASE64.decode(attribute("s=")).unwrap();
        let rounds = attribute("i=").parse().unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
        let client_key = hmac_sha256(&salted, b"Client Key");
        let without_proof = format!("c={},r={}", BASE64.encode(binding), attribute("r="));
        let signature =
            hmac_sha256(&sha256(&client_key), format!("{client_first_bare},{server_first},{without_proof}").as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes()
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (server, server_first) = begun(server(false, None), CLIENT_FIRST, Some(keys()));
        assert_eq!(server_first, SERVER_FIRST);
        let (server, step) = server.response(CLIENT_FINAL);
        assert!(matches!(&step, Step::Challenge(last) if last == SERVER_FINAL.as_bytes()), "{step:?}");
        let (server, step) = server.unwrap().response(b"");
        assert!(matches!(step, Step::Success { user } if user == "user"));
        assert!(server.is_none());
    }

    #[test]
    fn a_wrong_proof_fails() {
        let wrong = ScramKeys::derive("pencil2", &keys().salt, 4096);
        let (server, server_first) = begun(server(false, None), CLIENT_FIRST, Some(wrong));
        assert_eq!(server_first, SERVER_FIRST);
        let (server, step) = server.response(CLIENT_FINAL);
        assert!(matches!(step, Step::Failure { user } if user == "user"));
        assert!(server.is_none());
    }

    #[test]
    fn an_unknown_user_looks_like_a_known_one_and_fails() {
        let (first, challenge) = begun(server(false, None), CLIENT_FIRST, None);
        let (_, again) = begun(server(false, None), CLIENT_FIRST, None);
        assert_eq!(challenge, again, "the salt must stay");
        assert_eq!(challenge.len(), SERVER_FIRST.len());
        assert!(matches!(first.response(CLIENT_FINAL).1, Step::Failure { .. }));
        let other = ScramKeys::decoy(&DECOY_KEY, "other");
        assert!(!challenge.contains(&BASE64.encode(other.salt)));
    }

    #[test]
    fn binds_to_the_channel() {
        let client_first = b"p=tls-exporter,,n=user,r=abc";
        let (bound, server_first) = begun(server(true, Some(b"data")), client_first, Some(keys()));
        let right = client_final("pencil", b"p=tls-exporter,,data", "n=user,r=abc", &server_first);
        assert!(matches!(bound.response(&right).1, Step::Challenge(_)));
        let (elsewhere, _) = begun(server(true, Some(b"else")), client_first, Some(keys()));
        assert!(matches!(elsewhere.response(&right).1, Step::Failure { user } if user == "user"));
    }

    #[test]
    fn a_downgrade_is_noticed() {
        let malformed = |server: Server, first: &[u8]| matches!(server.response(first).1, Step::Malformed);
        assert!(malformed(server(false, Some(b"data")), b"y,,n=user,r=abc"));
        assert!(!malformed(server(false, None), b"y,,n=user,r=abc"));
        assert!(!malformed(server(false, Some(b"data")), b"n,,n=user,r=abc"));
        assert!(malformed(server(true, Some(b"data")), b"n,,n=user,r=abc"));
        assert!(malformed(server(true, Some(b"data")), b"p=tls-unique,,n=user,r=abc"));
        assert!(malformed(server(false, Some(b"data")), b"p=tls-exporter,,n=user,r=abc"));
        assert!(malformed(server(true, None), b"p=tls-exporter,,n=user,r=abc"));
    }

    #[test]
    fn first_messages_are_read_strictly() {
        for first in [
            &b""[..],
            b"n",
            b"n,,",
            b"n,,n=user",
            b"n,,n=user,r=",
            b"n,,n=,r=abc",
            b"n,,n=us=er,r=abc",
            b"n,,n=us=2cer,r=abc",
            b"n,,n=us\ter,r=abc",
            b"n,,m=x,n=user,r=abc",
            b"n,a=other,n=user,r=abc",
            b"n,other,n=user,r=abc",
            b"n,,n=user,r=a bc",
            b"\xff,,n=user,r=abc",
        ] {
            assert!(matches!(server(false, None).response(first).1, Step::Malformed), "{first:?} was taken");
        }
        let step = server(false, None).response(b"n,a=a=2Cb=3D,n=a=2Cb=3D,r=abc").1;
        assert!(matches!(step, Step::Lookup { user } if user == "a,b="));
    }

    #[test]
    fn last_messages_are_of_this_exchange() {
        let bare = "n=user,r=rOprNGfwEbeRWgbNEkqO";
        let right = String::from_utf8(client_final("pencil", b"n,,", bare, SERVER_FIRST)).unwrap();
        assert_eq!(right.as_bytes(), CLIENT_FINAL);
        let answer = |wrong: &str| {
            let (server, _) = begun(server(false, None), CLIENT_FIRST, Some(keys()));
            server.response(wrong.as_bytes()).1
        };
        for wrong in [right.replace("c=biws", "c=eSws"), right.replace("r=rOpr", "r=rOps")] {
            assert!(matches!(answer(&wrong), Step::Failure { user } if user == "user"), "{wrong} was taken");
        }
        for wrong in
            [right.replace(",p=", ",q="), right.replace("VQ=", ""), right[..right.len() - 8].to_owned(), String::new()]
        {
            assert!(matches!(answer(&wrong), Step::Malformed), "{wrong} was taken");
        }
    }

    #[test]
    fn generated_keys_differ_by_salt() {
        let (a, b) = (ScramKeys::generate("pencil").unwrap(), ScramKeys::generate("pencil").unwrap());
        assert_ne!(a.salt, b.salt);
        assert_eq!(a, ScramKeys::derive("pencil", &a.salt, ScramKeys::ITERATIONS));
        assert!(!format!("{a:?}").contains("salt"));
    }
}
