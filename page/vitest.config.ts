import { defineConfig } from "vitest/config";

// Apart from vite.config.ts, whose plugin and folders are for the bundle.
export default defineConfig({
  test: {
    include: ["src/**/*.test.ts"],
    restoreMocks: true,
    unstubGlobals: true,
  },
});
