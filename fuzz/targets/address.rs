//! Addresses and domains: what parses has one meaning, and can stand in a command line.

use postrider_core::{Address, Domain, ReversePath};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = Address::parse(text) {
        assert_eq!(format!("{}@{}", address.local_part(), address.domain_text()), text);
        assert!(!text.bytes().any(|b| b < 32 || b == 127), "no control characters");
        let ascii = address.to_ascii_domain();
        assert_eq!(Address::parse(&ascii).map(|again| again.domain()), Ok(address.domain()), "{ascii}");
        assert_eq!(ReversePath::parse(text).map(|path| path.0), Ok(Some(address)));
    }
    if let Ok(domain) = Domain::parse(text) {
        assert!(domain.as_str().is_ascii());
        assert_eq!(Domain::parse(domain.as_str()), Ok(domain), "the normal form is its own normal form");
    }
}
