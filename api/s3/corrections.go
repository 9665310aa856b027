package s3

import "github.com/gofiber/fiber/v3"

func correctRequest(c fiber.Ctx) error { return c.Next() }
