//! Extended resources that devices stand behind (KEP-5004): a node that does not offer the resource itself may give devices of the class
//! that names it. All that a pod needs that way is one claim, which the scheduler makes when the pod is bound.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::{
        core::v1::{Container, ContainerExtendedResourceRequest},
        resource::v1::{DeviceClaim, DeviceClass, DeviceRequest, ExactDeviceRequest, ResourceClaim, ResourceClaimSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use component_helpers::quantity;

use super::{
    claims::is_owned_by,
    needs::{ClaimNeeds, Need},
};
use crate::{
    cache::{NodeInfo, PodInfo, catalog::Catalog, resources},
    framework::EXTENDED_CLAIM,
};

/// Every class is a resource of this name, whatever else it is called.
const IMPLICIT: &str = "deviceclass.resource.kubernetes.io/";

/// The classes by the resources that the pod requests.
pub(super) type Backed<'a> = BTreeMap<Arc<str>, &'a DeviceClass>;

/// The pod's resources that some class stands behind.
pub(in super::super) fn backed<'a>(pod: &PodInfo, catalog: &'a Catalog) -> Backed<'a> {
    let requested = pod
        .requests
        .scalars
        .iter()
        .filter(|(name, amount)| *amount > 0 && (resources::is_extended(name) || name.starts_with(IMPLICIT)));
    requested.filter_map(|(name, _)| Some((name.clone(), class(name, catalog)?))).collect()
}

/// The class behind a resource; of several the newest, of equally old ones the first by name.
fn class<'a>(resource: &str, catalog: &'a Catalog) -> Option<&'a DeviceClass> {
    if let Some(name) = resource.strip_prefix(IMPLICIT) {
        return catalog.device_classes.get(name).map(|class| &**class);
    }
    let classes = catalog.device_classes.values().map(|class| &**class);
    let named = classes.filter(|class| class.spec.extended_resource_name.as_deref() == Some(resource));
    let age = |class: &DeviceClass| class.metadata.creation_timestamp.as_ref().map(|t| t.0);
    named.reduce(|best, other| if age(other) > age(best) { other } else { best })
}

/// A claim that was made for the pod in an attempt that did not end.
pub(super) fn left_over<'a>(pod: &PodInfo, catalog: &'a Catalog) -> Option<&'a Arc<ResourceClaim>> {
    let ours = |claim: &&Arc<ResourceClaim>| {
        let annotations = claim.metadata.annotations.as_ref();
        annotations.is_some_and(|a| a.contains_key(EXTENDED_CLAIM)) && is_owned_by(claim, pod)
    };
    catalog.resource_claims.values().find(ours)
}

/// A request of the claim.
struct Made<'a> {
    name: String,
    class: &'a DeviceClass,
    count: i64,
}

/// What the pod needs of devices on a node, as one claim.
pub(super) struct Extended<'a> {
    made: Vec<Made<'a>>,
    /// Which request serves which container.
    pub(super) mappings: Vec<ContainerExtendedResourceRequest>,
}

impl<'a> Extended<'a> {
    /// Nothing where the node offers the resources itself.
    pub(super) fn new(pod: &PodInfo, backed: &Backed<'a>, node: &NodeInfo) -> Option<Self> {
        let mut extended = Extended { made: Vec::new(), mappings: Vec::new() };
        for (resource, class) in backed.iter().filter(|(name, _)| node.allocatable.scalar(name) == 0) {
            extended.add(pod, resource, class);
        }
        extended.made.sort_by(|a, b| a.name.cmp(&b.name));
        (!extended.made.is_empty()).then_some(extended)
    }

    /// Requests for one resource: one for each container that goes on running; init containers use those of the containers after them, and
    /// share one request for what they need beyond.
    fn add(&mut self, pod: &PodInfo, resource: &str, class: &'a DeviceClass) {
        let Some(spec) = pod.spec() else { return };
        let init = spec.init_containers.as_deref().unwrap_or_default();
        let all: Vec<&Container> = init.iter().chain(&spec.containers).collect();
        let passes = |at: usize| at < init.len() && all[at].restart_policy.as_deref() != Some("Always");
        let mut lasting: Vec<Option<Made<'a>>> = all.iter().map(|_| None).collect();
        for (at, container) in all.iter().enumerate().filter(|(at, _)| !passes(*at)) {
            let (made, mappings) = request(at, container, resource, class, &[]);
            lasting[at] = made;
            self.mappings.extend(mappings);
        }
        let mut most: Option<Made<'a>> = None;
        let mut passing = Vec::new();
        let mut names = Vec::new();
        for (at, container) in all.iter().enumerate().filter(|(at, _)| passes(*at)) {
            let (made, mappings) = request(at, container, resource, class, &lasting[at..]);
            passing.extend(mappings);
            if let Some(made) = made {
                names.push(made.name.clone());
                if most.as_ref().is_none_or(|most| most.count < made.count) {
                    most = Some(made);
                }
            }
        }
        if let Some(most) = &most {
            let shared = passing.iter_mut().filter(|mapping| names.contains(&mapping.request_name));
            shared.for_each(|mapping| mapping.request_name.clone_from(&most.name));
        }
        self.mappings.extend(passing);
        self.made.extend(most);
        self.made.extend(lasting.into_iter().flatten());
    }

    /// For the allocator.
    pub(super) fn needs(&self, pod: &PodInfo) -> ClaimNeeds<'a> {
        let need = |made: &Made<'a>| {
            vec![Need {
                name: Cow::Owned(made.name.clone()),
                class: made.class,
                all: false,
                count: usize::try_from(made.count).unwrap_or(usize::MAX),
                admin: false,
                selectors: &[],
                tolerations: &[],
                capacity: None,
            }]
        };
        let key = format!("{}/<extended-resources>", pod.namespace());
        ClaimNeeds { key, constraints: &[], config: &[], requests: self.made.iter().map(need).collect() }
    }

    /// The claim to make.
    pub(super) fn claim(&self, pod: &PodInfo) -> ResourceClaim {
        let request = |made: &Made<'_>| DeviceRequest {
            name: made.name.clone(),
            exactly: Some(ExactDeviceRequest {
                device_class_name: made.class.metadata.name.clone().unwrap_or_default(),
                allocation_mode: Some("ExactCount".to_owned()),
                count: Some(made.count),
                ..ExactDeviceRequest::default()
            }),
            first_available: None,
        };
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid.to_string(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        let requests = self.made.iter().map(request).collect();
        ResourceClaim {
            metadata: ObjectMeta {
                namespace: Some(pod.namespace().to_owned()),
                generate_name: Some(format!("{}-extended-resources-", pod.name())),
                annotations: Some([(EXTENDED_CLAIM.to_owned(), "true".to_owned())].into()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: ResourceClaimSpec {
                devices: Some(DeviceClaim { requests: Some(requests), ..DeviceClaim::default() }),
            },
            status: None,
        }
    }
}

/// What a container needs of the resource beyond the requests that it can use as well, and the requests that serve it.
fn request<'a>(
    at: usize,
    container: &Container,
    resource: &str,
    class: &'a DeviceClass,
    usable: &[Option<Made<'a>>],
) -> (Option<Made<'a>>, Vec<ContainerExtendedResourceRequest>) {
    let mapping = |request: &str| ContainerExtendedResourceRequest {
        container_name: container.name.clone(),
        resource_name: resource.to_owned(),
        request_name: request.to_owned(),
    };
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let wanted = requests.and_then(|r| r.get(resource)).map_or(0, quantity::value);
    let (mut mappings, mut sum) = (Vec::new(), 0);
    if wanted == 0 {
        return (None, mappings);
    }
    for made in usable.iter().flatten() {
        sum += made.count;
        mappings.push(mapping(&made.name));
        if sum >= wanted {
            return (None, mappings);
        }
    }
    let place = requests.map_or(0, |all| all.keys().take_while(|name| *name != resource).count());
    let name = format!("container-{at}-request-{place}");
    mappings.push(mapping(&name));
    (Some(Made { name, class, count: wanted - sum }), mappings)
}
