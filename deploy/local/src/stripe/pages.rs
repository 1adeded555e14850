//! Pages for people: what there is, and where links lead. No script, nothing from other sites.

use super::{account::Account, object::Object as _};

/// A page has a style, and nothing else.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Maximum rows of a table: more than a person reads.
const ROWS: usize = 50;

/// Returns the page at a path, if there is one.
pub(super) fn page(account: &Account, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] => Some(overview(account)),
        ["invoices", id] | ["invoices", id, "pdf"] => invoice(account, id),
        ["portal", _] => Some(html(
            "Billing portal",
            "<p>The development Stripe has no portal. With a key of Stripe's test mode, this link \
             leads to Stripe's.</p>",
        )),
        _ => None,
    }
}

fn overview(account: &Account) -> String {
    let customers = account.customers.values().rev().map(|customer| {
        let name = customer
            .name
            .clone()
            .or(customer.email().map(str::to_owned));
        [
            customer.id().to_owned(),
            name.unwrap_or_default(),
            String::new(),
        ]
    });
    let subscriptions = account.subscriptions.values().rev().map(|found| {
        let items = found.items.iter().map(|item| item.product.as_str());
        let items: Vec<&str> = items.collect();
        [found.id.clone(), items.join(", "), found.status.to_owned()]
    });
    let invoices = account.invoices.values().rev().map(|invoice| {
        let due = format!("{} {}", invoice.amount_due, invoice.currency);
        [invoice.id.clone(), due, invoice.status.to_owned()]
    });
    let events = account.events.values().rev().map(|event| {
        [
            event.id.clone(),
            event.kind.clone(),
            event.created.to_string(),
        ]
    });
    let body = [
        table("Subscriptions", subscriptions),
        table("Invoices, amounts in minor units", invoices),
        table("Customers", customers),
        table("Events", events),
    ];
    let note = "<p>A test double of Stripe, for development. It forgets everything when it stops. \
                <code>docs/development-stripe.md</code> tells what it does.</p>";
    html("Development Stripe", &format!("{note}{}", body.concat()))
}

fn invoice(account: &Account, id: &str) -> Option<String> {
    let invoice = account.invoices.get(id)?;
    let rows = [
        [
            "Number".to_owned(),
            invoice.number.clone().unwrap_or_default(),
        ],
        [
            "Total, in minor units".to_owned(),
            format!("{} {}", invoice.total, invoice.currency),
        ],
        ["Status".to_owned(), invoice.status.to_owned()],
    ];
    Some(html("Invoice", &table(id, rows.into_iter())))
}

fn table<const N: usize>(title: &str, rows: impl Iterator<Item = [String; N]>) -> String {
    let row = |cells: [String; N]| {
        let cells = cells.map(|cell| format!("<td>{}</td>", escaped(&cell)));
        format!("<tr>{}</tr>", cells.concat())
    };
    let rows: String = rows.take(ROWS).map(row).collect();
    format!("<h2>{}</h2><table>{rows}</table>", escaped(title))
}

fn html(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:1rem/1.5 sans-serif;margin:2rem}}td{{padding:0 1rem 0 0}}</style>\
         <h1>{title}</h1>{body}</html>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{customer, form::Form},
        *,
    };

    #[test]
    fn a_name_cannot_become_markup() {
        let mut account = Account::new(0);
        let form = Form::parse("", b"name=<script>").unwrap();
        customer::create(&mut account, form).unwrap();
        let page = page(&account, "/").unwrap();
        assert!(page.contains("&lt;script>") && !page.contains("<script"));
    }
}
