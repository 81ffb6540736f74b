//! Ranges of IP addresses in CIDR form.

use std::net::IpAddr;

/// A network: its first address and how many bits are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    base: IpAddr,
    prefix: u8,
}

impl IpRange {
    pub fn parse(text: &str) -> Option<IpRange> {
        let (address, prefix) = text.trim().split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|p| *p <= bits(address))?;
        let network = number(address) & !host_mask(address, prefix);
        Some(IpRange { base: with_number(address, network), prefix })
    }

    pub fn is_ipv6(&self) -> bool {
        self.base.is_ipv6()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.base.is_ipv6() == address.is_ipv6()
            && number(address) & !host_mask(self.base, self.prefix) == number(self.base)
    }

    /// How many addresses services can have: without the first, and in IPv4 without the last.
    pub fn usable(&self) -> u128 {
        let all = host_mask(self.base, self.prefix);
        if self.is_ipv6() { all.min(u128::from(u64::MAX)) } else { all.saturating_sub(1) }
    }

    /// The usable address number `index`, from 1 on.
    pub fn nth(&self, index: u128) -> IpAddr {
        with_number(self.base, number(self.base).saturating_add(index))
    }

    pub fn first(&self) -> IpAddr {
        self.nth(1)
    }
}

impl std::fmt::Display for IpRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn with_number(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()),
        IpAddr::V6(_) => IpAddr::from(number.to_be_bytes()),
    }
}

fn host_mask(like: IpAddr, prefix: u8) -> u128 {
    let free = bits(like) - prefix;
    if free == 128 { u128::MAX } else { (1u128 << free) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = IpRange::parse("10.96.0.7/16").expect("CIDR");
        assert_eq!(range.to_string(), "10.96.0.0/16");
        assert_eq!(range.first().to_string(), "10.96.0.1");
        assert_eq!(range.usable(), 65534);
        assert!(
            range.contains("10.96.200.1".parse().expect("IP")) && !range.contains("10.97.0.1".parse().expect("IP"))
        );
        assert_eq!(IpRange::parse("fd00::/108").expect("CIDR").first().to_string(), "fd00::1");
        assert!(IpRange::parse("10.0.0.0/33").is_none() && IpRange::parse("x").is_none());
    }
}
