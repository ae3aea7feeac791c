import { init } from "./redoc-3.0.1.js";

const element = document.getElementById("docs");

init(element.dataset.spec, { disableTelemetry: true, router: "hash" }, element);
