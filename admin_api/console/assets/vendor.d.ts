/** Types of vendor.js for `tsc --checkJs` (see vendor.md); nothing at run time reads this file. */
export { h, render, Fragment } from "preact";
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal, untracked, useComputed, useSignal, useSignalEffect } from "@preact/signals";
export declare const html: (strings: TemplateStringsArray, ...values: any[]) => any;
