//! What the address of a list of runs says.

use serde::Deserialize;

use crate::domain::run::StateFilter;
use crate::id::Id;
use crate::web::address::Address;

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Query {
    pub state: Option<String>,
    pub tenant: Option<String>,
    pub job: Option<String>,
    pub before: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub state: Option<&'static str>,
    pub tenant: Option<String>,
    /// The tenant stands in the path.
    pub fixed_tenant: bool,
    pub job: Option<String>,
    pub before: Option<Id>,
}

pub struct Chip {
    pub label: String,
    pub href: String,
}

impl Filter {
    pub fn new(query: Query, tenant: Option<String>) -> Self {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            state: query.state.as_deref().and_then(StateFilter::parse).map(StateFilter::word),
            fixed_tenant: tenant.is_some(),
            tenant: tenant.or(some(query.tenant)),
            job: some(query.job),
            before: query.before.and_then(|before| before.parse().ok()),
        }
    }

    pub fn state_filter(&self) -> Option<StateFilter> {
        self.state.and_then(StateFilter::parse)
    }

    pub fn path(&self) -> String {
        match &self.tenant {
            Some(tenant) if self.fixed_tenant => format!("/t/{tenant}/runs"),
            _ => "/runs".into(),
        }
    }

    fn address(&self) -> Address {
        let tenant = self.tenant.as_deref().filter(|_| !self.fixed_tenant);
        Address::new(self.path()).some("state", self.state).some("tenant", tenant).some("job", self.job.as_deref())
    }

    pub fn here(&self) -> String {
        self.address().some("before", self.before.map(|id| id.to_string()).as_deref()).to_string()
    }

    pub fn newest(&self) -> String {
        self.address().to_string()
    }

    pub fn older(&self, than: Id) -> String {
        self.address().some("before", Some(&than.to_string())).to_string()
    }

    pub fn of_state(&self, state: Option<&'static str>) -> String {
        Self { state, before: None, ..self.clone() }.newest()
    }

    pub fn is_narrow(&self) -> bool {
        self.state.is_some() || self.job.is_some() || (self.tenant.is_some() && !self.fixed_tenant)
    }

    pub fn is_job(&self, job: &str) -> bool {
        self.job.as_deref() == Some(job)
    }

    pub fn is_tenant(&self, tenant: &str) -> bool {
        self.tenant.as_deref() == Some(tenant)
    }

    pub fn chips(&self) -> Vec<Chip> {
        let mut chips = Vec::new();
        if let Some(tenant) = self.tenant.as_ref().filter(|_| !self.fixed_tenant) {
            chips.push(Chip { label: format!("tenant: {tenant}"), href: Self { tenant: None, ..self.clone() }.newest() });
        }
        if let Some(job) = &self.job {
            chips.push(Chip { label: format!("job: {job}"), href: Self { job: None, ..self.clone() }.newest() });
        }
        chips
    }
}
