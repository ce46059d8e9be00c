// The widgets' words in other languages; a test keeps them complete.

export const LANGUAGES = {};
