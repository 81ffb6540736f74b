//! Approves the client certificates that kubelets ask for, when RBAC lets the requester have them.

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    certificates::v1::CertificateSigningRequest,
};
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Api, Client, ResourceExt, api::PostParams};

use super::{KUBELET_CLIENT, has_certificate, has_condition, request, with_condition};
use crate::context::Context;

struct Approver {
    client: Client,
    requests: Store<CertificateSigningRequest>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let requests = context.informer::<CertificateSigningRequest>();
    requests.enqueue_to(&queue);
    let approver = Arc::new(Approver { client: context.client.clone(), requests: requests.store().clone() });
    context.run(&queue, move |key| approver.clone().reconcile(key));
    Ok(())
}

/// The permissions of which one suffices, with what is said then. Empty: not for us.
pub(super) fn permissions(csr: &CertificateSigningRequest) -> Vec<(&'static str, &'static str)> {
    let decided = has_condition(csr, "Approved") || has_condition(csr, "Denied");
    if csr.spec.signer_name != KUBELET_CLIENT || decided || has_certificate(csr) {
        return Vec::new();
    }
    let Ok(wish) = request::parse(&csr.spec.request.0) else { return Vec::new() };
    if request::check(&csr.spec, &wish).is_err() {
        return Vec::new();
    }
    let mut permissions = Vec::new();
    if csr.spec.username.as_deref() == Some(wish.common_name.as_str()) {
        let message = "Auto approving self kubelet client certificate after SubjectAccessReview.";
        permissions.push(("selfnodeclient", message));
    }
    permissions.push(("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."));
    permissions
}

impl Approver {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(csr) = self.requests.get(&key) else { return Ok(Action::Done) };
        for (subresource, message) in permissions(&csr) {
            if !self.is_allowed(&csr, subresource).await? {
                continue;
            }
            let approved = with_condition(&csr, "Approved", "AutoApproved", message);
            let api = Api::<CertificateSigningRequest>::all(self.client.clone());
            api.replace_subresource("approval", &csr.name_any(), &PostParams::default(), &approved).await?;
            tracing::info!(request = %csr.name_any(), "approved");
            return Ok(Action::Done);
        }
        Ok(Action::Done)
    }

    async fn is_allowed(&self, csr: &CertificateSigningRequest, subresource: &str) -> Result<bool, kube::Error> {
        let attributes = ResourceAttributes {
            group: Some("certificates.k8s.io".to_owned()),
            resource: Some("certificatesigningrequests".to_owned()),
            subresource: Some(subresource.to_owned()),
            verb: Some("create".to_owned()),
            version: Some("*".to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: csr.spec.username.clone(),
                uid: csr.spec.uid.clone(),
                groups: csr.spec.groups.clone(),
                extra: csr.spec.extra.clone(),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
