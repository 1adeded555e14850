//! What a tenant reads if it cannot choose a plan. Gateways refuse previews, workers refuse
//! changes, and both say the same.

/// Nobody can pay here.
pub const PAYMENTS_NOT_SET_UP: &str = "Payments are not set up here, so a plan that costs money can \
                                       only be tried, and once. Ask who runs this service.";
/// Stripe decides which plan the tenant has, or will.
pub const CANCEL_FIRST: &str = "You pay for your plan, or are about to. Cancel that first, and wait \
                                for its end.";
/// Another plan comes with the next period, and the present one is paid until then.
pub const PLAN_COMING: &str = "Another plan comes with your next period. Choose your present plan to \
                               stay with it, and then this one.";
/// A payment is missing, and Stripe would give back what was never paid.
pub const PAYMENT_MISSING: &str = "A payment is missing. Pay your open invoice first, on its page or \
                                   by the portal, and choose again.";
