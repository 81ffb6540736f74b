//! Networks as numbers.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A network of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cidr {
    v4: bool,
    /// Invariant: the bits after the mask are zero; an IPv4 address is in the low 32 bits.
    base: u128,
    bits: u8,
}

impl Cidr {
    /// Parses `address/bits`; bits after the mask are cleared.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (v4, base) = match address.parse().ok()? {
            IpAddr::V4(ip) => (true, u128::from(u32::from(ip))),
            IpAddr::V6(ip) => (false, u128::from(ip)),
        };
        let bits = bits.parse().ok().filter(|bits| *bits <= if v4 { 32 } else { 128 })?;
        let cidr = Self { v4, base, bits };
        Some(Self { base: base & !(cidr.size_minus_one()), ..cidr })
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.v4
    }

    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    fn width(&self) -> u8 {
        if self.v4 { 32 } else { 128 }
    }

    fn size_minus_one(&self) -> u128 {
        let host = self.width() - self.bits;
        u128::MAX.checked_shr(128 - u32::from(host)).unwrap_or_default()
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.v4 == other.v4
            && self.base <= other.base + other.size_minus_one()
            && other.base <= self.base + self.size_minus_one()
    }

    /// Subnets of `bits`, in order; at most 65536 of them (upstream's limit, too).
    pub(crate) fn subnets(self, bits: u8) -> impl Iterator<Item = Self> {
        let count = 1u128 << u32::from(bits.saturating_sub(self.bits)).min(16);
        let step = 1u128.checked_shl(u32::from(self.width().saturating_sub(bits))).unwrap_or_default();
        (0..count).map(move |n| Self { v4: self.v4, base: self.base + n * step, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match u32::try_from(self.base) {
            Ok(v4) if self.v4 => IpAddr::V4(Ipv4Addr::from(v4)),
            _ => IpAddr::V6(Ipv6Addr::from(self.base)),
        };
        write!(f, "{address}/{}", self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_prints_and_overlaps() {
        for (text, want) in [
            ("10.1.2.3/24", Some("10.1.2.0/24")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("fd00::1/64", Some("fd00::/64")),
            ("10.0.0.0/33", None),
            ("x/8", None),
            ("10.0.0.0", None),
        ] {
            assert_eq!(Cidr::parse(text).map(|c| c.to_string()).as_deref(), want, "{text}");
        }
        let overlap = |a: &str, b: &str| Cidr::parse(a).unwrap().overlaps(&Cidr::parse(b).unwrap());
        assert!(
            overlap("10.0.0.0/8", "10.9.0.0/16")
                && !overlap("10.0.0.0/16", "10.1.0.0/16")
                && !overlap("0.0.0.0/0", "::/0")
        );
    }
}
