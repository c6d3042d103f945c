//! A sink's table worked out into a plan at the moment it is read, for sinks whose keys mean something only together:
//! [`SinkConfig::check`](crate::SinkConfig::check) then repeats the faults, and everything else uses the plan.

use std::fmt;
use std::sync::Arc;

use crate::fault::Fault;
use crate::report::{Reason, code};
use crate::sink::BuildError;

/// A plan, or every fault that stands in its way.
pub struct Planned<P>(Result<Arc<P>, Vec<Fault>>);

/// What is said where a plan with faults is used all the same.
const FAULTY: &str = "the config has faults";

impl<P> Planned<P> {
    /// Keeps a plan, or what is wrong with it.
    pub fn new(plan: Result<P, Vec<Fault>>) -> Self {
        Self(plan.map(Arc::new))
    }

    /// For [`SinkConfig::check`](crate::SinkConfig::check).
    ///
    /// # Errors
    /// Every fault.
    pub fn check(&self) -> Result<(), Vec<Fault>> {
        self.0.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// For [`SinkConfig::target`](crate::SinkConfig::target).
    ///
    /// # Errors
    /// A reason where the plan has faults.
    pub fn for_target(&self) -> Result<&P, Reason> {
        self.0.as_deref().map_err(|_| Reason::new(code::BAD_PAYLOAD, FAULTY))
    }

    /// For [`SinkConfig::build`](crate::SinkConfig::build).
    ///
    /// # Errors
    /// A refusal where the plan has faults.
    pub fn for_build(&self) -> Result<Arc<P>, BuildError> {
        self.0.as_ref().map(Arc::clone).map_err(|_| BuildError::Refused(FAULTY.to_owned()))
    }
}

/// Shows the plan as the plan shows itself, and of faults only how many there are: their texts are for `check`.
impl<P: fmt::Debug> fmt::Debug for Planned<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(plan) => plan.fmt(f),
            Err(faults) => f.debug_struct("Planned").field("faults", &faults.len()).finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_with_faults_tells_them_to_check_alone_and_is_of_no_other_use() {
        let planned: Planned<u8> = Planned::new(Err(vec![Fault::at_key("k", "a secret-value")]));
        assert_eq!(planned.check().unwrap_err().len(), 1);
        assert_eq!(planned.for_target().unwrap_err().code, code::BAD_PAYLOAD);
        assert!(matches!(planned.for_build(), Err(BuildError::Refused(_))));
        assert!(!format!("{planned:?}").contains("secret-value"));
        let planned = Planned::new(Ok(7));
        assert_eq!((planned.check(), planned.for_target(), format!("{planned:?}")), (Ok(()), Ok(&7), "7".to_owned()));
    }
}
