// The gateways, at which callers reach models.
import { get } from "./api.js";

/** The gateways that registered within the last five minutes. */
export const gatewayList = (signal) => get("gateways", {}, { signal });
