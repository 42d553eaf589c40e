// The gateways, at which callers reach models.
import { html } from "./vendor/preact.js";
import { get } from "./api.js";
import { plural } from "./format.js";
import { Ago, Loaded } from "./ui.js";

/** The gateways that registered within the last five minutes. */
export const gatewayList = (signal) => get("gateways", {}, { signal });

export const Gateways = ({ found }) =>
    html`<section aria-labelledby="gateways">
        <header class="section-head">
            <h2 id="gateways">Gateways</h2>
            ${found.data?.gateways.length > 0 && html`
                <small class="muted">${plural(found.data.gateways.length, "gateway")}</small>
            `}
        </header>
        <${Loaded} from=${found}>${({ gateways }) => gateways.length === 0
            ? html`<p class="muted">
                None registered within the last five minutes. <code>muster gateway serve</code> runs one.
            </p>`
            : html`<div class="table"><table>
                <thead><tr><th>Address</th><th>Version</th><th>Last seen</th></tr></thead>
                <tbody>${gateways.map((gateway) => html`<tr key=${gateway.gateway_id}>
                    <td data-name="Address"><code>${gateway.url}</code></td>
                    <td data-name="Version">${gateway.version || html`<span class="muted">unknown</span>`}</td>
                    <td data-name="Last seen"><${Ago} at=${gateway.renewed_at} /></td>
                </tr>`)}</tbody>
            </table></div>`}<//>
    </section>`;
