//! Names of chains: a hash of what the chain is for, as upstream makes them, so that either proxy recognises the other's.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use crate::model::ServicePort;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The first 16 letters of the base32 form of the parts' SHA-256.
fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part.as_bytes()));
    let bits = digest.finalize();
    let letter = |index: usize| {
        let (byte, shift) = (index * 5 / 8, index * 5 % 8);
        let pair = u16::from(bits[byte]) << 8 | u16::from(bits[byte + 1]);
        char::from(ALPHABET[usize::from(pair >> (11 - shift) & 31)])
    };
    (0..16).map(letter).collect()
}

/// A chain of a service port: `KUBE-SVC-`, `KUBE-SVL-`, `KUBE-EXT-` or `KUBE-FW-` and the hash.
#[must_use]
pub fn service_chain(prefix: &str, port: &ServicePort) -> String {
    format!("{prefix}{}", hash(&[&port.name(), port.protocol]))
}

/// The chain of an endpoint of a service port.
#[must_use]
pub fn endpoint_chain(port: &ServicePort, endpoint: SocketAddr) -> String {
    format!("KUBE-SEP-{}", hash(&[&port.name(), port.protocol, &endpoint.to_string()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_equal_upstreams() {
        // Names as upstream's clusters and tests show them.
        assert_eq!(hash(&["default/kubernetes:https", "tcp"]), "NPX46M4PTMTKRN6Y");
        assert_eq!(hash(&["kube-system/kube-dns:dns", "udp"]), "TCOU7JCQXEZGVUNU");
        assert_eq!(hash(&["ns4/svc4:p80", "tcp", "10.180.0.5:80"]), "C6EBXVWJJZMIWKLZ");
    }
}
