'use strict';
// The page asks its own address, so that /t/<slug>/graphql stays in its tenant.
const path = location.pathname === '/graph' ? '/graphql' : location.pathname;
const fetcher = GraphiQL.createFetcher({
  url: path + location.search,
  subscriptionUrl: location.origin.replace(/^http/, 'ws') + path + '/ws' + location.search,
});
const defaultQuery = `# Ctrl-Space completes, Ctrl-Enter runs. The book on the left describes every field.
# A request names its tenant by its address, /t/<slug>/graphql, or by the header x-tenant.
{
  profile {
    firstname
    email
  }
}
`;
ReactDOM.createRoot(document.getElementById('graphiql'))
  .render(React.createElement(GraphiQL, { fetcher, defaultQuery }));
