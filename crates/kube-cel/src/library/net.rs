//! IP addresses and networks.

use std::fmt;
use std::net::IpAddr;

use super::{Cost, ONE, Row, fail, no_such_overload};
use crate::EvalError;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("ip(string) -> IP", Cost::Scan(1), |a| Ok(Value::Ip(parse_ip(text(a, 0)?)?))),
    ("isIP(string) -> bool", Cost::Scan(1), |a| Ok(parse_ip(text(a, 0)?).is_ok().into())),
    ("ip.isCanonical(string) -> bool", Cost::Scan(2), |a| {
        let given = text(a, 0)?;
        Ok((parse_ip(given)?.to_string() == given).into())
    }),
    ("IP::family() -> int", ONE, |a| Ok(Value::Int(if ip(a)?.is_ipv4() { 4 } else { 6 }))),
    ("IP::isUnspecified() -> bool", ONE, |a| Ok(ip(a)?.is_unspecified().into())),
    ("IP::isLoopback() -> bool", ONE, |a| Ok(ip(a)?.is_loopback().into())),
    ("IP::isLinkLocalMulticast() -> bool", ONE, |a| {
        Ok(match ip(a)? {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        }
        .into())
    }),
    ("IP::isLinkLocalUnicast() -> bool", ONE, |a| {
        Ok(match ip(a)? {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
        .into())
    }),
    ("IP::isGlobalUnicast() -> bool", ONE, |a| Ok(is_global_unicast(ip(a)?).into())),
    ("cidr(string) -> CIDR", Cost::Scan(1), |a| Ok(Value::Cidr(Cidr::parse(text(a, 0)?)?))),
    ("isCIDR(string) -> bool", Cost::Scan(1), |a| Ok(Cidr::parse(text(a, 0)?).is_ok().into())),
    ("CIDR::containsIP(IP) -> bool", Cost::Contains(false), |a| match &a[1] {
        Value::Ip(ip) => Ok(cidr(a)?.contains(*ip).into()),
        _ => no_such_overload(),
    }),
    ("CIDR::containsIP(string) -> bool", Cost::Contains(true), |a| {
        Ok(cidr(a)?.contains(parse_ip(text(a, 1)?)?).into())
    }),
    ("CIDR::containsCIDR(CIDR) -> bool", Cost::ContainsNetwork(false), |a| match &a[1] {
        Value::Cidr(other) => Ok(cidr(a)?.contains_network(*other).into()),
        _ => no_such_overload(),
    }),
    ("CIDR::containsCIDR(string) -> bool", Cost::ContainsNetwork(true), |a| {
        Ok(cidr(a)?.contains_network(Cidr::parse(text(a, 1)?)?).into())
    }),
    ("CIDR::ip() -> IP", ONE, |a| Ok(Value::Ip(cidr(a)?.address))),
    ("CIDR::masked() -> CIDR", ONE, |a| Ok(Value::Cidr(cidr(a)?.masked()))),
    ("CIDR::prefixLength() -> int", ONE, |a| Ok(Value::Int(cidr(a)?.prefix.into()))),
];

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub(crate) address: IpAddr,
    prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn text(args: &[Value], at: usize) -> Result<&str, EvalError> {
    match &args[at] {
        Value::String(text) => Ok(text),
        _ => no_such_overload(),
    }
}

fn ip(args: &[Value]) -> Result<IpAddr, EvalError> {
    match &args[0] {
        Value::Ip(ip) => Ok(*ip),
        _ => no_such_overload(),
    }
}

fn cidr(args: &[Value]) -> Result<Cidr, EvalError> {
    match &args[0] {
        Value::Cidr(cidr) => Ok(*cidr),
        _ => no_such_overload(),
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    if text.contains('%') {
        return fail(format!("IP address {text:?} with zone value is not allowed"));
    }
    match text.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            fail(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        Ok(ip) => Ok(ip),
        Err(_) => fail(format!("IP Address {text:?} parse error during conversion from string: unable to parse IP")),
    }
}

fn is_global_unicast(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !link_local
}

impl Cidr {
    fn parse(text: &str) -> Result<Cidr, EvalError> {
        let refuse =
            || fail(format!("network address parse error during conversion from string: netip.ParsePrefix({text:?})"));
        let Some((address, prefix)) = text.split_once('/') else { return refuse() };
        let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u8>()) else { return refuse() };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix > longest {
            return refuse();
        }
        Ok(Cidr { address, prefix })
    }

    /// The address' first bits, in the upper bits of the number.
    fn bits(address: IpAddr, prefix: u8) -> u128 {
        let bits = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
            IpAddr::V6(v6) => u128::from(v6),
        };
        bits & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
    }

    fn contains(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && Cidr::bits(ip, self.prefix) == Cidr::bits(self.address, self.prefix)
    }

    fn contains_network(self, other: Cidr) -> bool {
        self.contains(other.address) && self.prefix <= other.prefix
    }

    fn masked(self) -> Cidr {
        let bits = Cidr::bits(self.address, self.prefix);
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4(((bits >> 96) as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(bits.into()),
        };
        Cidr { address, prefix: self.prefix }
    }
}
