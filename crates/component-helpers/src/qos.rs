//! A pod's quality-of-service class.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{
    api::core::v1::{Pod, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{quantity, resources::Amounts};

/// The class of service that a pod gets, from what it requests of CPU and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QosClass {
    /// Nothing requested, nothing limited.
    BestEffort,
    /// Something is requested or limited, but not everything.
    Burstable,
    /// Every container limits CPU and memory, and requests just that.
    Guaranteed,
}

impl QosClass {
    /// The API's word for the class.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            QosClass::BestEffort => "BestEffort",
            QosClass::Burstable => "Burstable",
            QosClass::Guaranteed => "Guaranteed",
        }
    }
}

/// The class in the pod's status where it is set (it never changes), else the computed one.
#[must_use]
pub fn pod_qos(pod: &Pod) -> QosClass {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => QosClass::Guaranteed,
        Some("Burstable") => QosClass::Burstable,
        Some("BestEffort") => QosClass::BestEffort,
        _ => pod.spec.as_ref().map_or(QosClass::BestEffort, compute),
    }
}

/// The class that the spec asks for.
#[must_use]
pub fn compute(spec: &PodSpec) -> QosClass {
    if let Some(resources) = spec.resources.as_ref().filter(|r| r.requests.is_some() || r.limits.is_some()) {
        return classify(&[Some(resources)]);
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    classify(&containers.map(|c| c.resources.as_ref()).collect::<Vec<_>>())
}

fn classify(parts: &[Option<&ResourceRequirements>]) -> QosClass {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let mut all_limited = !parts.is_empty();
    for part in parts {
        collect(&mut requests, part.and_then(|r| r.requests.as_ref()));
        all_limited &= collect(&mut limits, part.and_then(|r| r.limits.as_ref())) == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        QosClass::BestEffort
    } else if all_limited && requests == limits {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// Adds what `list` names of CPU and memory, and says how many of the two it names. Zero is as good as absent.
fn collect(total: &mut Amounts, list: Option<&BTreeMap<String, Quantity>>) -> usize {
    let mut named = 0;
    for name in ["cpu", "memory"] {
        let Some(amount) = list.and_then(|l| l.get(name)).map(quantity::milli_value).filter(|a| *a > 0) else {
            continue;
        };
        *total.entry(name.to_owned()).or_insert(0) += amount;
        named += 1;
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::k8s_openapi::api::core::v1::Container;

    fn parse(text: &str) -> Option<BTreeMap<String, Quantity>> {
        let pairs: Vec<_> = text.split(' ').filter_map(|p| p.split_once('=')).collect();
        (!pairs.is_empty()).then(|| pairs.into_iter().map(|(k, v)| (k.to_owned(), Quantity(v.to_owned()))).collect())
    }

    #[test]
    fn classes() {
        let table: [(&[(&str, &str)], QosClass); 7] = [
            (&[("", "")], QosClass::BestEffort),
            (&[("cpu=0", "")], QosClass::BestEffort),
            (&[("cpu=1", "")], QosClass::Burstable),
            (&[("cpu=1 memory=1Gi", "cpu=1 memory=1Gi")], QosClass::Guaranteed),
            (&[("cpu=1 memory=1Gi", "cpu=1000m memory=1024Mi"), ("", "")], QosClass::Burstable),
            (&[("cpu=1 memory=1Gi", "cpu=2 memory=1Gi")], QosClass::Burstable),
            (&[("", "example.com/gpu=1")], QosClass::BestEffort),
        ];
        for (containers, class) in table {
            let containers = containers.iter().map(|(requests, limits)| Container {
                resources: Some(ResourceRequirements {
                    requests: parse(requests),
                    limits: parse(limits),
                    ..Default::default()
                }),
                ..Default::default()
            });
            assert_eq!(compute(&PodSpec { containers: containers.collect(), ..Default::default() }), class);
        }
    }
}
